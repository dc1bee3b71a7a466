//! How a tensor lies in memory.

/// An image in memory: element `(n, h, w, c)` is `n·strides[0] + h·strides[1] + w·strides[2] + c·strides[3]`
/// elements after the address that the kernel is given.
///
/// A tensor of another rank is an image with some extents 1. Channels last has `strides[3] == 1`.
/// A convolution's input view starts at the padded corner: `(0, 0, 0, 0)` is the halo's first pixel, and
/// the halo holds the zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Images, rows, columns, channels; a padded input counts its halo.
    pub extent: [usize; 4],
    /// Elements from one index to the next, for each axis of `extent`.
    pub strides: [usize; 4],
}

impl View {
    /// Dense channels-last memory.
    pub fn dense(extent: [usize; 4]) -> View {
        let [_, h, w, c] = extent;
        View {
            extent,
            strides: [h * w * c, w * c, c, 1],
        }
    }

    /// Whether pixels follow each other without a gap, rows included, so that an image is one row.
    pub fn is_flat(&self) -> bool {
        let [_, _, w, _] = self.extent;
        self.strides[1] == w * self.strides[2]
    }
}
