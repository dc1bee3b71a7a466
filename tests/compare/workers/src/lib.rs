//! What the programs that time a network have in common: for each number of seconds on stdin they write the
//! nanoseconds of the median evaluation and how many evaluations there were.

use std::time::{Duration, Instant};

/// Answers for as long as numbers come.
pub fn serve(mut evaluate: impl FnMut()) {
    for line in std::io::stdin().lines() {
        let line = line.expect("stdin is text");
        let seconds: f64 = line.trim().parse().expect("a number of seconds");
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut times = vec![];
        while times.len() < 3 || Instant::now() < end {
            let start = Instant::now();
            evaluate();
            times.push(start.elapsed().as_nanos());
        }
        times.sort();
        println!("{} {}", times[times.len() / 2], times.len());
    }
}

/// The bytes of a linear congruence.
pub fn bytes() -> impl Iterator<Item = u8> {
    let mut state = 1_u32;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 24) as u8)
    })
}

/// The same as reals of -1 to 1.
pub fn reals() -> impl Iterator<Item = f32> {
    bytes().map(|b| f32::from(b) / 127.5 - 1.0)
}
