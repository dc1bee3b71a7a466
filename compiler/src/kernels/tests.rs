//! Products in the interpreter against their formula, on every machine, at random odd sizes.

mod cases;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::ir::{Elem, IntType, QuantParams, Type};
use crate::kernel::{Call, Constant, Kernel, Port, Program, Scalar, Slot, interp};
use crate::kernels::{
    Blocks, Chains, Depthwise, Form, Gemm, Names, Packed, Product, Scale, Window, Winograd,
};
use crate::kernels::{chain, offset, pack, unsigned_offset};
use crate::prove;
use crate::target::{self, Target};
use qcc_runtime_support::fixed::{scale_even, scale_once};

use cases::{Case, Filled, Weights, case, fill, stored};

/// A sum as a factor scales it.
fn scaled(acc: i64, scale: Scale) -> i32 {
    match scale {
        Scale::Real(m) => (acc as f32 * m).round_ties_even() as i32,
        Scale::Twice(m) => m.scale(acc as i32),
        Scale::Once(m) => scale_once(acc as i32, m.multiplier, 31 - m.exponent),
        Scale::Shared(..) | Scale::Near(..) => panic!("a case has the factors that are meant"),
        Scale::Even(m) => scale_even(acc as i32, m.multiplier, m.places),
    }
}

impl Filled {
    /// The operator's meaning, element by element.
    fn expected(&self) -> Vec<u8> {
        let [cg, mg] = self.case.channels;
        let window = &self.case.window;
        let [n, h, w, m] = self.output.extent;
        let mut out = vec![];
        for (n, y, x, m) in (0..n).flat_map(|n| {
            (0..h).flat_map(move |y| (0..w).flat_map(move |x| (0..m).map(move |m| (n, y, x, m))))
        }) {
            let mut acc = i64::from(self.product.bias[m]);
            for (i, weight) in self.product.row(m).iter().enumerate() {
                let (tap, c) = (i / cg, i % cg);
                let row = y * window.strides[0] + tap / window.extent[1] * window.steps[0];
                let col = x * window.strides[1] + tap % window.extent[1] * window.steps[1];
                let [sn, sh, sw, _] = self.input.strides;
                let value = self.x[n * sn + row * sh + col * sw + m / mg * cg + c];
                acc += i64::from(*weight) * i64::from(value - self.product.zero_point);
            }
            let scale = self.meant[m];
            let rounded = match (&self.requantize.residual, scale) {
                (Some(r), Scale::Real(m)) => {
                    let added = (self.r[out.len()] - r.zero_point) as f32 * r.ratio;
                    (acc as f32 * m + added).round_ties_even() as i32
                }
                _ => scaled(acc, scale),
            };
            let value = rounded + self.requantize.zero_point;
            out.push(value.clamp(self.requantize.low, self.requantize.high));
        }
        stored(&out, self.requantize.elem)
    }

    fn names(product: &Product) -> Names {
        Names {
            weights: "weights".into(),
            lows: match product.fields {
                Some(_) => "lows".into(),
                None => String::new(),
            },
            bias: "bias".into(),
            high: String::new(),
            scales: "scales".into(),
            shifts: match product.scales[0] {
                Scale::Real(_) | Scale::Even(_) => String::new(),
                _ => "shifts".into(),
            },
            places: product.places(),
        }
    }

    fn gemm(&self, target: &Target) -> (Kernel, Packed) {
        let gemm = self.product(target);
        (gemm.kernel(target), pack(&gemm, target, &self.product))
    }

    fn product(&self, target: &Target) -> Gemm {
        let (_, capacity) =
            prove::sums_or_capacity(&self.product, offset(target, self.case.elems[0]))
                .expect("the case is within bounds");
        let mut gemm = Gemm {
            name: "gemm".into(),
            comment: vec![],
            window: self.case.window,
            groups: self.case.groups,
            form: self.product.form(),
            input: self.input,
            elem: self.case.elems[0],
            slack: self.case.slack,
            aligned: false,
            magnitudes: false,
            output: self.output,
            requantize: self.requantize.clone(),
            capacity,
            constants: Names {
                high: capacity.map_or(String::new(), |_| "high".into()),
                ..Self::names(&self.product)
            },
            chains: None,
            pairs: None,
            copied: false,
        };
        gemm.aligned = self.case.elems[0].bytes() == 1
            && gemm.window.aligns(&gemm.input, gemm.groups, target.dot.k);
        gemm
    }

    /// The result of the kernel, and what it says of its blocks.
    fn depthwise(&self, target: &Target) -> (Vec<u8>, Option<String>) {
        let mut conv = Depthwise {
            name: "depthwise".into(),
            comment: vec![],
            window: self.case.window,
            form: self.product.form(),
            input: self.input,
            elem: self.case.elems[0],
            slack: self.case.slack,
            output: self.output,
            requantize: self.requantize.clone(),
            blocks: None,
            constants: Names::default(),
        };
        let mut constants = vec![];
        let mut add = |packed, prefix| {
            let (more, names) = prefixed(packed, prefix);
            constants.extend(more);
            names
        };
        if let Some(mut blocks) = Blocks::new(&conv, target, &self.product) {
            blocks.constants = add(blocks.pack(target, &self.product), "block_");
            conv.blocks = Some(blocks);
        }
        if let Some(packed) = conv.pack(target, &self.product) {
            conv.constants = add(packed, "");
        }
        let result = self.run_all(target, conv.kernel(target), constants, &[]);
        (result, conv.blocks.map(|blocks| blocks.comment(target)))
    }

    /// The kernel, its constants with the tables of tiles, and the bytes of its scratch memory.
    fn winograd(&self, target: &Target) -> (Kernel, Packed, Vec<Constant>, Vec<usize>) {
        let mut conv = Winograd {
            name: "winograd".into(),
            comment: vec![],
            form: self.product.form(),
            input: self.input,
            input_signed: self.case.elems[0] == Scalar::I8,
            output: self.output,
            requantize: self.requantize.clone(),
            constants: Self::names(&self.product),
            tables: ["rows".into(), "columns".into()],
        };
        if self.case.size[0] == self.case.size[1] {
            conv.tables[1] = "rows".into();
        }
        let mut tables: Vec<Constant> = vec![];
        for (axis, name) in conv.tables.iter().enumerate() {
            let Some(firsts) = conv.firsts(axis) else {
                continue;
            };
            if tables.iter().all(|t| t.name != *name) {
                tables.push(Constant {
                    name: name.clone(),
                    elem: Scalar::I32,
                    bytes: firsts.iter().flat_map(|x| x.to_le_bytes()).collect(),
                });
            }
        }
        let [u, v, m] = conv.scratch(target);
        let packed = conv.pack(target, &self.product);
        (
            conv.kernel(target),
            packed,
            tables,
            vec![2 * u, 2 * v, 4 * m],
        )
    }

    /// The product of weights of few bits with sums of 16 bits, where these hold more than one step.
    fn pairs(&self, target: &Target) -> Option<(Kernel, Packed)> {
        let offset = unsigned_offset(self.case.elems[0]);
        let (low, high) = self.product.range;
        let steps = prove::pairs(&self.product, (low + offset, high + offset));
        let steps = steps.filter(|steps| *steps >= self.product.form().steps())?;
        let mut gemm = self.product(target);
        gemm.pairs = Some(steps * target.dot.k);
        Some((gemm.kernel(target), pack(&gemm, target, &self.product)))
    }

    /// The product in chains, with the input's magnitudes or without; none where weights are not bytes.
    fn chains(&self, target: &Target, magnitudes: bool) -> Option<(Kernel, Packed, Vec<Constant>)> {
        let mut gemm = self.product(target);
        gemm.chains = Some(Chains::default());
        let (packed, chained, _) = chain(&gemm, target, &self.product)?;
        let tables = [
            ("tiles", &chained.tiles),
            ("starts", &chained.starts),
            ("offsets", &chained.offsets),
        ];
        gemm.magnitudes = magnitudes;
        gemm.chains = Some(Chains {
            tiles: "tiles".into(),
            starts: "starts".into(),
            offsets: "offsets".into(),
            kinds: chained.counts.map(|(_, chains)| chains > 0),
        });
        let tables = tables.map(|(name, numbers)| Constant {
            name: name.into(),
            elem: Scalar::I32,
            bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        });
        Some((gemm.kernel(target), packed, tables.into()))
    }

    fn run(&self, target: &Target, kernel: Kernel, packed: Packed) -> Vec<u8> {
        self.run_with(target, kernel, packed, vec![], &[])
    }

    /// Runs a kernel that has more constants, and scratch memory before its result.
    fn run_with(
        &self,
        target: &Target,
        kernel: Kernel,
        packed: Packed,
        tables: Vec<Constant>,
        scratch: &[usize],
    ) -> Vec<u8> {
        let (constants, _) = prefixed(packed, "");
        self.run_all(target, kernel, [constants, tables].concat(), scratch)
    }

    fn run_all(
        &self,
        target: &Target,
        kernel: Kernel,
        constants: Vec<Constant>,
        scratch: &[usize],
    ) -> Vec<u8> {
        let port = |name: &str, len: usize, scalar| Port {
            name: name.into(),
            ty: Type {
                shape: vec![len],
                elem: Elem::Quantized(QuantParams::per_tensor(IntType::U8, 1.0, 0)),
            },
            scalar,
        };
        let elem = self.case.elems[0];
        let mut x = stored(&self.x, elem);
        x.resize(x.len() + if self.case.slack { 64 } else { 0 }, 77);
        let mut inputs = vec![port("x", x.len() / elem.bytes(), elem)];
        let mut data = vec![x];
        let mut args = vec![Slot::Input(0, 0)];
        let bytes = kernel.buffers.iter().filter(|b| b.elem.bytes() == 1);
        for buffer in bytes.filter(|b| ["a", "v"].contains(&b.name.as_str())) {
            // Activations less 128 where they are u8, and the magnitudes of these.
            let shift = |x: &u8| if elem == Scalar::U8 { x ^ 0x80 } else { *x };
            let signed = data[0].iter().map(shift);
            let bytes: Vec<u8> = match buffer.name.as_str() {
                "a" => signed.collect(),
                _ => signed.map(|a| (a as i8).unsigned_abs()).collect(),
            };
            args.push(Slot::Input(inputs.len(), 0));
            inputs.push(port(&buffer.name, bytes.len(), buffer.elem));
            data.push(bytes);
        }
        if self.case.residual {
            args.push(Slot::Input(inputs.len(), 0));
            inputs.push(port("r", self.r.len(), elem));
            data.push(stored(&self.r, elem));
        }
        let mut arena_bytes = 0;
        for bytes in scratch {
            args.push(Slot::Arena(arena_bytes));
            arena_bytes += bytes;
        }
        args.push(Slot::Output(0, 0));
        let program = Program {
            name: "test".into(),
            inputs,
            outputs: vec![port("y", self.r.len(), self.case.elems[1])],
            arena_bytes,
            align: target.align,
            kernels: vec![kernel],
            constants,
            calls: vec![Call {
                layer: "test".into(),
                kernel: 0,
                args,
                overlaps: false,
                macs: 0,
            }],
            threads: 0,
        };
        interp::run(&program, target, &data).remove(0)
    }
}

/// Constants whose names have a prefix, and the names of those that are not empty.
fn prefixed(packed: Packed, prefix: &str) -> (Vec<Constant>, Names) {
    let scales = match packed.shifts.is_empty() {
        true => Scalar::F32,
        false => Scalar::I32,
    };
    let mut constants = vec![];
    let mut add = |name: &str, elem, bytes: Vec<u8>| {
        let name = format!("{prefix}{name}");
        let named = if bytes.is_empty() {
            String::new()
        } else {
            name.clone()
        };
        constants.push(Constant { name, elem, bytes });
        named
    };
    let names = Names {
        weights: add("weights", Scalar::I8, packed.weights),
        lows: add("lows", Scalar::I8, packed.lows),
        high: add("high", Scalar::I32, packed.high),
        bias: add("bias", Scalar::I32, packed.bias),
        scales: add("scales", scales, packed.scales),
        shifts: add("shifts", Scalar::I32, packed.shifts),
        places: packed.places,
    };
    (constants, names)
}

/// A case that Winograd's convolution takes: 3×3 neighbouring taps, results of 2×2 and more.
fn neighbours() -> impl Strategy<Value = Case> {
    let sizes = (
        [2usize..=7, 2usize..=7],
        prop_oneof![1usize..=40, Just(64)],
        1usize..=75,
    );
    (case(false), sizes).prop_map(|(case, (size, before, after))| Case {
        size,
        window: Window {
            extent: [3, 3],
            ..Window::POINT
        },
        groups: 1,
        channels: [before, after],
        slack: true,
        weights: match case.weights {
            Weights::Narrow(bits) | Weights::NarrowAsymmetric(bits) => Weights::Narrow(bits),
            _ => Weights::Bytes,
        },
        elems: case.elems.map(|elem| match elem {
            Scalar::U16 => Scalar::U8,
            Scalar::I16 => Scalar::I8,
            byte => byte,
        }),
        ..case
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn winograds_convolution_is_exact_on_every_machine(case in neighbours()) {
        let mut filled = fill(&case);
        filled.product.scales = filled.meant.clone();
        filled.requantize.scaling = filled.product.scaling();
        let expected = filled.expected();
        prop_assert!(prove::winograd(&filled.product).is_some());
        let targets = target::names().into_iter().map(|name| Target::load(name).unwrap());
        for target in targets {
            let (kernel, packed, tables, scratch) = filled.winograd(&target);
            let found = filled.run_with(&target, kernel, packed, tables, &scratch);
            prop_assert_eq!(&found, &expected, "{}", target.name);
        }
    }

    #[test]
    fn a_product_is_exact_on_every_machine(case in case(false)) {
        let filled = fill(&case);
        let expected = filled.expected();
        for name in target::names() {
            let target = Target::load(name).unwrap();
            let (kernel, packed) = filled.gemm(&target);
            prop_assert_eq!(&filled.run(&target, kernel, packed), &expected, "{}", name);
        }
    }

    #[test]
    fn a_product_of_copied_windows_is_exact(case in case(false)) {
        let filled = fill(&case);
        let expected = filled.expected();
        for name in target::names() {
            let target = Target::load(name).unwrap();
            let mut gemm = filled.product(&target);
            if let Some(words) = gemm.copied_words(&target, &filled.product) {
                gemm.copied = true;
                let packed = pack(&gemm, &target, &filled.product);
                let kernel = gemm.kernel(&target);
                let found = filled.run_with(&target, kernel, packed, vec![], &[4 * words]);
                prop_assert_eq!(&found, &expected, "{}", name);
            }
        }
    }

    #[test]
    fn a_product_in_chains_is_exact(case in case(false), magnitudes in any::<bool>()) {
        let slack = Case { slack: true, ..case };
        let filled = fill(&slack);
        prop_assume!(slack.elems[0].bytes() == 1);
        let expected = filled.expected();
        for name in target::names() {
            let target = Target::load(name).unwrap();
            if target.dot.chains.is_none() {
                continue;
            }
            if let Some((kernel, packed, tables)) = filled.chains(&target, magnitudes) {
                let found = filled.run_with(&target, kernel, packed, tables, &[]);
                prop_assert_eq!(&found, &expected, "{}", name);
            } else if let Some((kernel, packed)) = filled.pairs(&target) {
                prop_assert_eq!(&filled.run(&target, kernel, packed), &expected, "{}", name);
            } else {
                let bytes = matches!(filled.product.form(), Form::Bytes { .. });
                let zero = filled.product.weights.iter().all(|w| *w == 0);
                prop_assert!(!bytes || zero, "{}", name);
            }
        }
    }

    #[test]
    fn a_depthwise_product_is_exact_on_every_machine(case in case(true)) {
        let filled = fill(&case);
        let expected = filled.expected();
        for name in target::names() {
            let target = Target::load(name).unwrap();
            let (found, _) = filled.depthwise(&target);
            prop_assert_eq!(&found, &expected, "{}", name);
        }
    }
}

#[test]
fn a_large_depthwise_window_is_a_loop_and_exact() {
    let case = Case {
        images: 1,
        size: [3, 5],
        window: Window {
            extent: [9, 9],
            ..Window::POINT
        },
        groups: 11,
        channels: [1, 1],
        elems: [Scalar::U8, Scalar::I8],
        residual: false,
        slack: false,
        clamp: 255,
        weights: Weights::Bytes,
        extreme: true,
        seed: 7,
    };
    let filled = fill(&case);
    for name in target::names() {
        let target = Target::load(name).unwrap();
        let (found, _) = filled.depthwise(&target);
        assert_eq!(found, filled.expected(), "{name}");
    }
}

/// A depthwise convolution of bytes whose every activation and weight is at its limit, or that has small weights.
fn blocks(channels: usize, taps: usize, elem: Scalar, small: bool, seed: u64) -> Filled {
    let mut filled = fill(&Case {
        images: 1,
        size: [2, 11],
        window: Window {
            extent: [taps, taps],
            strides: [1 + seed as usize % 2; 2],
            ..Window::POINT
        },
        groups: channels,
        channels: [1, 1],
        elems: [elem, Scalar::U8],
        residual: false,
        slack: false,
        clamp: 255,
        weights: Weights::Bytes,
        extreme: true,
        seed,
    });
    if small {
        filled.product.weights.iter_mut().for_each(|w| *w /= 7);
    }
    // Some channels add up all that there is in one direction.
    for (i, w) in filled.product.weights.iter_mut().enumerate() {
        match i / (taps * taps) % 5 {
            0 => *w = w.abs(),
            1 => *w = -w.abs(),
            _ => {}
        }
    }
    filled
}

#[test]
fn extreme_activations_and_weights_are_exact_in_blocks() {
    let mut kinds = BTreeMap::new();
    for (seed, (channels, taps)) in [(64, 3), (80, 3), (136, 1), (67, 5), (32, 2), (96, 7)]
        .into_iter()
        .enumerate()
    {
        for (elem, small) in [(Scalar::U8, true), (Scalar::I8, true), (Scalar::U8, false)] {
            let filled = blocks(channels, taps, elem, small, seed as u64);
            let expected = filled.expected();
            for name in target::names() {
                let target = Target::load(name).unwrap();
                let (found, blocks) = filled.depthwise(&target);
                assert_eq!(
                    found, expected,
                    "{channels} channels, {taps} taps on {name}"
                );
                if let Some(blocks) = blocks {
                    let kind = ["four products", "two products", "fit 16 bits"];
                    let kind = kind.into_iter().find(|kind| blocks.contains(kind));
                    *kinds.entry((name, kind.unwrap_or("?"))).or_insert(0) += 1;
                }
            }
        }
    }
    let expected = [
        (("aarch64-neon", "fit 16 bits"), 18),
        (("aarch64-neon-dotprod", "fit 16 bits"), 18),
        (("aarch64-neon-i8mm", "fit 16 bits"), 18),
        // 136 channels fill a byte vector, two pixels of 64 and four of 32 do together.
        (("hexagon-hvx", "four products"), 9),
        // Small weights of more than one tap, and the others.
        (("x86_64-avx2", "fit 16 bits"), 10),
        (("x86_64-avx2", "two products"), 8),
        (("x86_64-avx512vnni", "four products"), 18),
        (("x86_64-avxvnni", "four products"), 18),
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
}
