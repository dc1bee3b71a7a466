//! Times an emitted network: for each number of seconds on stdin, writes the nanoseconds of the median evaluation,
//! and how many evaluations there were.

use std::time::{Duration, Instant};

#[allow(dead_code)]
mod network;

const fn len(shape: &[usize]) -> usize {
    let (mut product, mut i) = (1, 0);
    while i < shape.len() {
        product *= shape[i];
        i += 1;
    }
    product
}

fn main() {
    let mut arena = Box::new(network::Arena::new());
    let mut input = Box::new([0_u8; len(network::INPUT.shape)]);
    let mut output = Box::new([0_u8; len(network::OUTPUT.shape)]);
    // The bytes of a linear congruence: any input takes the same time.
    let mut state = 1_u32;
    for x in input.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = (state >> 24) as u8;
    }
    for line in std::io::stdin().lines() {
        let line = line.expect("stdin is text");
        let seconds: f64 = line.trim().parse().expect("a number of seconds");
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut times = vec![];
        while times.len() < 3 || Instant::now() < end {
            let start = Instant::now();
            network::run(&input, &mut output, &mut arena);
            times.push(start.elapsed().as_nanos());
        }
        times.sort();
        println!("{} {}", times[times.len() / 2], times.len());
    }
}
