//! Answers of classifiers.

use crate::ir::{Array, Data};

/// The class of each sample of a batch, the first axis: the position of the largest score, or the only integer.
pub fn answers(output: &Array) -> Vec<i64> {
    let batch = output.shape.first().copied().unwrap_or(1).max(1);
    let each = (output.len() / batch).max(1);
    match &output.data {
        Data::F32(scores) => scores.chunks(each).map(largest).collect(),
        Data::I64(ints) => ints.chunks(each).map(|c| c[0]).collect(),
        Data::I32(ints) => ints.chunks(each).map(|c| c[0].into()).collect(),
    }
}

fn largest(scores: &[f32]) -> i64 {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    best as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_largest_score_answers_for_each_sample() {
        let scores = Array::f32([2, 3], vec![0.0, 2.0, 2.0, -1.0, -3.0, -2.0]);
        assert_eq!(answers(&scores), [1, 0]);
        assert_eq!(answers(&Array::i64([2, 1], vec![7, 9])), [7, 9]);
    }
}
