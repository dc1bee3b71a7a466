//! Shapes: how a stored sample becomes what an input expects, and where its channels are.

use crate::Result;
use crate::data::{Layout, Preprocess};
use crate::{Error, bail};

/// How the elements of a stored sample move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Not at all.
    Same,
    /// Height, width, channels become channels, height, width.
    ToChannelsFirst,
    /// Channels, height, width become height, width, channels.
    ToChannelsLast,
}

impl Fit {
    /// The move that makes a stored sample an input, both without the batch axis.
    ///
    /// Shapes that differ only in axes of extent 1, or of which one is flat, agree as they are.
    /// Anything else with the same number of elements is refused: a reshape would scramble it.
    pub(super) fn find(stored: &[usize], input: &[usize], layout: Option<Layout>) -> Option<Fit> {
        let squeezed = |s: &[usize]| s.iter().copied().filter(|n| *n != 1).collect::<Vec<_>>();
        let (from, to) = (squeezed(stored), squeezed(input));
        if from == to {
            return Some(Fit::Same);
        }
        if let ([a, b, c], [x, y, z]) = (stored, input) {
            if layout != Some(Layout::Nchw) && [c, a, b] == [x, y, z] {
                return Some(Fit::ToChannelsFirst);
            }
            if layout != Some(Layout::Nhwc) && [b, c, a] == [x, y, z] {
                return Some(Fit::ToChannelsLast);
            }
        }
        let len = |s: &[usize]| s.iter().product::<usize>();
        (len(&from) == len(&to) && from.len().min(to.len()) <= 1).then_some(Fit::Same)
    }

    /// Moves the elements of one sample of the stored shape.
    pub(super) fn apply<T: Copy>(self, sample: Vec<T>, stored: &[usize]) -> Vec<T> {
        match self {
            Fit::Same => sample,
            Fit::ToChannelsFirst => transpose(&sample, stored[0] * stored[1], stored[2]),
            Fit::ToChannelsLast => transpose(&sample, stored[0], stored[1] * stored[2]),
        }
    }
}

fn transpose<T: Copy>(matrix: &[T], rows: usize, columns: usize) -> Vec<T> {
    let indices = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    indices.map(|i| matrix[i]).collect()
}

/// Number of channels of a stored sample and the distance of two of them, in elements.
pub(super) fn channels(stored: &[usize], preprocess: &Preprocess) -> Result<(usize, usize)> {
    let wanted = preprocess.distinct();
    if wanted == 1 {
        return Ok((1, 1));
    }
    let [first, .., last] = *stored else {
        return Err(no_channels(stored, wanted));
    };
    let plane = stored[1..].iter().product();
    let layout = match preprocess.layout {
        Some(layout) => layout,
        None if first == wanted && last == wanted => bail!(
            "the first and the last axis of a sample {stored:?} both have {wanted} entries";
            hint: "say which are the channels: --layout nchw or --layout nhwc"
        ),
        None if first == wanted => Layout::Nchw,
        None => Layout::Nhwc,
    };
    match layout {
        Layout::Nchw if first == wanted => Ok((wanted, plane)),
        Layout::Nhwc if last == wanted => Ok((wanted, 1)),
        _ => Err(no_channels(stored, wanted)),
    }
}

fn no_channels(stored: &[usize], wanted: usize) -> Error {
    Error::new(format!(
        "a sample {stored:?} has no axis of {wanted} channels"
    ))
    .hint("give mean and std one number each, or check --layout")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fit::{Same, ToChannelsFirst, ToChannelsLast};

    #[test]
    fn shapes_fit_without_scrambling() {
        let cases: &[(&[usize], &[usize], Option<Fit>)] = &[
            (&[28, 28], &[1, 28, 28], Some(Same)),
            (&[49, 10], &[490], Some(Same)),
            (&[16000], &[1, 100, 160], Some(Same)),
            (&[32, 32, 3], &[32, 32, 3], Some(Same)),
            (&[32, 32, 3], &[3, 32, 32], Some(ToChannelsFirst)),
            (&[3, 32, 20], &[32, 20, 3], Some(ToChannelsLast)),
            (&[32, 20, 3], &[3, 20, 32], None),
            (&[30, 40], &[40, 30], None),
            (&[30, 40], &[30, 41], None),
        ];
        for (stored, input, fit) in cases {
            assert_eq!(Fit::find(stored, input, None), *fit, "{stored:?} {input:?}");
        }
    }

    #[test]
    fn transposing_moves_channels() {
        let hwc = vec![1, 10, 2, 20, 3, 30];
        let chw = ToChannelsFirst.apply(hwc.clone(), &[1, 3, 2]);
        assert_eq!(chw, [1, 2, 3, 10, 20, 30]);
        assert_eq!(ToChannelsLast.apply(chw, &[2, 1, 3]), hwc);
    }

    #[test]
    fn channels_are_found_by_extent() {
        let colours = Preprocess {
            mean: vec![1.0; 3],
            ..Preprocess::default()
        };
        assert_eq!(channels(&[3, 4, 5], &colours).unwrap(), (3, 20));
        assert_eq!(channels(&[4, 5, 3], &colours).unwrap(), (3, 1));
        assert!(channels(&[3, 5, 3], &colours).is_err());
        assert!(channels(&[4, 5], &colours).is_err());
    }
}
