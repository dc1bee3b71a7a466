//! Which memory a convolution's window covers.

use crate::kernels::View;

/// The taps of a convolution: a regular grid of pixels, the same for every result.
///
/// The result `(y, x)` reads input pixels `(y·strides[0] + i·steps[0], x·strides[1] + j·steps[1])` of the
/// padded view, for `i < extent[0]`, `j < extent[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns of taps; zero where no tap reaches a result.
    pub extent: [usize; 2],
    /// Input pixels from a tap to the next.
    pub steps: [usize; 2],
    /// Input pixels from a result to the next.
    pub strides: [usize; 2],
}

/// A loop over equal pieces of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Turns.
    pub count: usize,
    /// Elements from one turn's memory to the next's.
    pub stride: usize,
}

/// A window of one group as contiguous runs of memory: `levels` of runs of `len` elements.
/// Within a run elements are in the order tap row, tap column, channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Outer loops; those of one turn are left out.
    pub levels: Vec<Level>,
    /// Elements of a run.
    pub len: usize,
}

impl Window {
    /// A window of one tap that visits every pixel.
    pub const POINT: Window = Window {
        extent: [1, 1],
        steps: [1, 1],
        strides: [1, 1],
    };

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.extent[0] * self.extent[1]
    }

    /// Whether all steps of `k` activations of a group lie at multiples of `k` from the first.
    pub fn aligns(&self, view: &View, groups: usize, k: usize) -> bool {
        let channels = view.extent[3] / groups;
        let [image, row, pixel, _] = view.strides;
        let mut apart = vec![image, self.strides[0] * row, self.strides[1] * pixel];
        apart.extend((groups > 1).then_some(channels));
        let runs = self.runs(view, channels).levels;
        apart.extend(runs.iter().map(|level| level.stride));
        apart.iter().all(|elements| elements.is_multiple_of(k))
    }

    /// Elements from the first window's corner to the last element of the last window of `output`.
    pub fn last(&self, output: &View, input: &View) -> usize {
        let along = |axis: usize| {
            let pixel = (output.extent[axis + 1] - 1) * self.strides[axis];
            pixel + self.extent[axis].saturating_sub(1) * self.steps[axis]
        };
        let ends = [
            output.extent[0] - 1,
            along(0),
            along(1),
            input.extent[3] - 1,
        ];
        ends.iter()
            .zip(&input.strides)
            .map(|(end, stride)| end * stride)
            .sum()
    }

    /// The window over `channels` of the view's channels, with neighbouring taps joined where memory allows.
    pub fn runs(&self, view: &View, channels: usize) -> Runs {
        let mut runs = Runs {
            levels: vec![],
            len: if self.taps() == 0 { 0 } else { channels },
        };
        for axis in [1, 0] {
            let (count, stride) = (self.extent[axis], self.steps[axis] * view.strides[axis + 1]);
            if count <= 1 {
                continue;
            }
            if stride == runs.len && runs.levels.is_empty() {
                runs.len *= count;
            } else {
                runs.levels.insert(0, Level { count, stride });
            }
        }
        runs
    }
}

impl Runs {
    /// Number of runs.
    pub fn count(&self) -> usize {
        self.levels.iter().map(|level| level.count).product()
    }

    /// Where each run begins, in order.
    pub fn firsts(&self) -> Vec<usize> {
        let mut firsts = vec![0];
        for level in &self.levels {
            let turns =
                |first: usize| (0..level.count).map(move |turn| first + turn * level.stride);
            firsts = firsts.into_iter().flat_map(turns).collect();
        }
        firsts
    }

    /// Products of `k` elements that cover a run, the last one padded.
    pub fn steps(&self, k: usize) -> usize {
        self.len.div_ceil(k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(extent: [usize; 2], steps: [usize; 2]) -> Window {
        Window {
            extent,
            steps,
            strides: [1, 1],
        }
    }

    #[test]
    fn a_kernel_row_is_one_run_when_channels_are_dense() {
        let view = View::dense([1, 10, 10, 3]);
        let runs = window([3, 3], [1, 1]).runs(&view, 3);
        let levels = vec![Level {
            count: 3,
            stride: 30,
        }];
        assert_eq!(runs, Runs { levels, len: 9 });
    }

    #[test]
    fn a_kernel_as_wide_as_the_image_is_one_run() {
        let view = View::dense([1, 7, 7, 16]);
        let runs = window([7, 7], [1, 1]).runs(&view, 16);
        assert_eq!(
            runs,
            Runs {
                levels: vec![],
                len: 784
            }
        );
    }

    #[test]
    fn dilation_and_groups_separate_the_taps() {
        let view = View::dense([1, 10, 10, 8]);
        let levels = vec![
            Level {
                count: 3,
                stride: 80,
            },
            Level {
                count: 3,
                stride: 16,
            },
        ];
        assert_eq!(
            window([3, 3], [1, 2]).runs(&view, 8),
            Runs { levels, len: 8 }
        );
        let levels = vec![
            Level {
                count: 3,
                stride: 80,
            },
            Level {
                count: 3,
                stride: 8,
            },
        ];
        assert_eq!(
            window([3, 3], [1, 1]).runs(&view, 4),
            Runs { levels, len: 4 }
        );
    }

    #[test]
    fn a_window_without_taps_has_no_memory() {
        let runs = window([0, 2], [1, 1]).runs(&View::dense([1, 4, 4, 8]), 8);
        assert_eq!(runs.len, 0);
    }
}
