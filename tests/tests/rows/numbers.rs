//! What cases read: numbers that are the same everywhere, extremes and near ties among them.

use qcc_compiler::kernel::{Constant, Scalar};
use qcc_compiler::target::Target;

use crate::rounds;

/// What cases read.
pub(crate) struct Numbers {
    pub(crate) bytes: Vec<u8>,
    pub(crate) words: Vec<i32>,
    pub(crate) constants: Vec<Constant>,
}

/// Numbers that look random and are the same everywhere (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Random {
        Random(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn real(&mut self) -> f32 {
        (self.below(1 << 24) as f32 + 1.0) / (1 << 24) as f32
    }
}

impl Numbers {
    pub(crate) fn new(target: &Target) -> Numbers {
        let random = &mut Random::new();
        let many =
            (rounds(target) + 8) * target.lanes.max(1) * (target.bytes / target.lanes).max(1);
        let (bytes, words) = inputs(random, (rounds(target) + 8) * target.bytes, many);
        let narrow: Vec<i32> = (0..many)
            .map(|_| random.below(1 << 16) as i32 - (1 << 15))
            .collect();
        let small: Vec<u32> = (0..many)
            .map(|_| (random.real() * 0.5f32.powi(random.below(20) as i32)).to_bits())
            .collect();
        let table = (0..256).map(|_| random.next() as u8).collect();
        let mut constants = vec![
            constant("narrow", Scalar::I32, narrow.iter().map(|x| *x as u32)),
            constant("small", Scalar::F32, small.into_iter()),
            Constant {
                name: "table".into(),
                elem: Scalar::U8,
                bytes: table,
            },
        ];
        constants.extend(ties(random, rounds(target) * target.lanes));
        Numbers {
            bytes,
            words,
            constants,
        }
    }
}

impl Numbers {
    /// Inputs of bytes and words that differ from turn to turn.
    pub(crate) fn sample(&self, turn: usize) -> Vec<Vec<u8>> {
        let (mut bytes, mut words) = (self.bytes.clone(), self.words.clone());
        if turn > 0 {
            let mut random = Random::new();
            (0..turn).for_each(|_| random = Random(random.next()));
            (bytes, words) = inputs(&mut random, bytes.len(), words.len());
        }
        vec![bytes, words.iter().flat_map(|w| w.to_le_bytes()).collect()]
    }
}

fn inputs(random: &mut Random, bytes: usize, words: usize) -> (Vec<u8>, Vec<i32>) {
    let extremes = [0u8, 255, 128, 127, 1];
    let bytes = (0..bytes).map(|_| match random.below(3) {
        0 => extremes[random.below(5) as usize],
        _ => random.next() as u8,
    });
    let bytes = bytes.collect();
    let words = (0..words).map(|_| match random.below(8) {
        0 => i32::MIN,
        1 => i32::MAX,
        _ => (random.next() as i32) >> random.below(31),
    });
    (bytes, words.collect())
}

fn constant(name: &str, elem: Scalar, words: impl Iterator<Item = u32>) -> Constant {
    Constant {
        name: name.into(),
        elem,
        bytes: words.flat_map(u32::to_le_bytes).collect(),
    }
}

/// Products and sums that lie beside the middle of two integers.
fn ties(random: &mut Random, len: usize) -> Vec<Constant> {
    let nudged = |m: f64, random: &mut Random| {
        let bits = (m as f32).to_bits() as i32 + random.below(3) as i32 - 1;
        bits as u32
    };
    let (mut a, mut m) = (vec![], vec![]);
    let (mut sum_a, mut sum_ma, mut sum_b, mut sum_mb) = (vec![], vec![], vec![], vec![]);
    for _ in 0..len {
        let x = 1 + random.below(1 << 28) as i32;
        let tie = random.below(300) as f64 + 0.5;
        a.push(x as u32);
        m.push(nudged(tie / f64::from(x), random));
        let (x, y) = (
            1 + random.below(1 << 20) as i32,
            1 + random.below(1 << 20) as i32,
        );
        let mx = random.real() * 0.001;
        let rest = random.below(300) as f64 + 0.5 - f64::from(x) * f64::from(mx);
        sum_a.push(x as u32);
        sum_ma.push(mx.to_bits());
        sum_b.push(y as u32);
        sum_mb.push(nudged(rest / f64::from(y), random));
    }
    vec![
        constant("tie_a", Scalar::I32, a.into_iter()),
        constant("tie_m", Scalar::F32, m.into_iter()),
        constant("sum_a", Scalar::I32, sum_a.into_iter()),
        constant("sum_ma", Scalar::F32, sum_ma.into_iter()),
        constant("sum_b", Scalar::I32, sum_b.into_iter()),
        constant("sum_mb", Scalar::F32, sum_mb.into_iter()),
    ]
}
