//! Few channels of several pixels in one vector: they become channels of one pixel, whose window is as much wider.
//!
//! ```text
//!  two pixels, a window of 3, strides of 1          one pixel of twice the channels, a window of 4, strides of 2
//!     a b c .                                          a b c 0
//!     . a b c                                          0 a b c
//! ```
//!
//! Channels lie beside each other in memory, so that the result is the same bytes. Weights of 0 add nothing.

use crate::kernels::{Form, Product, Requantize, Residual, View, Window};
use crate::lower::product::Windows;
use crate::target::Target;

/// A product that computes several pixels as one.
pub(super) struct Spread {
    pub(super) windows: Windows,
    pub(super) product: Product,
    pub(super) requantize: Requantize,
    pixels: usize,
}

impl Spread {
    /// What a reader of the kernel should know.
    pub(super) fn comment(&self) -> String {
        format!(
            "{} results side by side are channels of one, whose window is wider; weights between are 0.",
            self.pixels
        )
    }
}

/// The product of as many pixels at once as are the least work, if the machine says what finishing a vector costs.
pub(super) fn pixels(
    target: &Target,
    windows: &Windows,
    product: &Product,
    requantize: &Requantize,
) -> Option<Spread> {
    let finish = target.dot.finish?;
    let output = &windows.output.1;
    let channels = output.extent[3];
    let residual = requantize.residual.as_ref().map(|r| &r.view);
    let dense = |view: &View| view.strides[2] == channels;
    let Window { extent, steps, .. } = windows.window;
    let taken = windows.groups == 1
        && extent.iter().all(|taps| *taps > 0)
        && (steps[1] == 1 || extent[1] == 1)
        && product.elem.bytes() == 1
        && requantize.elem.bytes() == 1
        && matches!(product.form(), Form::Bytes { .. })
        && dense(output)
        && residual.is_none_or(dense);
    if !taken {
        return None;
    }
    // Halves of a product. Activations are read, where they are not aligned in several words, and multiplied once more.
    let input = &windows.input.1;
    let cost = |pixels: usize| {
        let window = wider(&windows.window, pixels);
        let runs = window.runs(input, input.extent[3]);
        let steps = product.parts() * runs.count() * runs.steps(target.dot.k);
        let vectors = (pixels * channels).div_ceil(target.dot.lanes);
        let step = match window.aligns(input, 1, target.dot.k) {
            true => 2 * vectors + 3,
            false => 3 * vectors + 8,
        };
        1000 * (steps * step + 2 * vectors * finish) / pixels
    };
    let several = (2..=target.dot.lanes).filter(|p| output.extent[2].is_multiple_of(*p));
    let pixels = several.min_by_key(|pixels| cost(*pixels))?;
    (cost(pixels) < cost(1)).then(|| Spread {
        windows: Windows {
            window: wider(&windows.window, pixels),
            output: (windows.output.0, joined(output, pixels)),
            ..*windows
        },
        product: repeated(windows, product, pixels),
        requantize: Requantize {
            residual: requantize.residual.as_ref().map(|r| Residual {
                view: joined(&r.view, pixels),
                ..r.clone()
            }),
            ..requantize.clone()
        },
        pixels,
    })
}

/// The window of several results beside each other.
fn wider(window: &Window, pixels: usize) -> Window {
    let [down, right] = window.strides;
    Window {
        extent: [window.extent[0], window.extent[1] + (pixels - 1) * right],
        steps: [window.steps[0], 1],
        strides: [down, pixels * right],
    }
}

/// An image whose pixels are several of another.
fn joined(view: &View, pixels: usize) -> View {
    let ([n, h, w, c], [image, row, pixel, element]) = (view.extent, view.strides);
    View {
        extent: [n, h, w / pixels, pixels * c],
        strides: [image, row, pixels * pixel, element],
    }
}

/// The product's numbers for each of the pixels, whose weights begin where its window does.
fn repeated(windows: &Windows, product: &Product, pixels: usize) -> Product {
    let [rows, cols] = windows.window.extent;
    let wide = wider(&windows.window, pixels).extent[1];
    let depth = windows.input.1.extent[3];
    let mut weights = vec![];
    for pixel in 0..pixels {
        let before = pixel * windows.window.strides[1] * depth;
        for channel in 0..product.bias.len() {
            for row in product.row(channel).chunks(cols * depth).take(rows) {
                let start = weights.len();
                weights.resize(start + wide * depth, 0);
                weights[start + before..][..row.len()].copy_from_slice(row);
            }
        }
    }
    Product {
        weights,
        bias: product.bias.repeat(pixels),
        scales: product.scales.repeat(pixels),
        ..product.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Scalar;
    use crate::kernels::Scale;
    use crate::lower::Place;

    fn dense(extent: [usize; 4]) -> View {
        let [_, h, w, c] = extent;
        View {
            extent,
            strides: [h * w * c, w * c, c, 1],
        }
    }

    /// Windows of `columns` results, `right` input pixels apart, and a product of `channels` from two.
    fn case(columns: usize, channels: usize, right: usize) -> (Windows, Product, Requantize) {
        let place = Place {
            region: 0,
            offset: 0,
        };
        let window = Window {
            extent: [2, 3],
            steps: [1, 1],
            strides: [1, right],
        };
        let windows = Windows {
            window,
            groups: 1,
            input: (place, dense([1, 4, (columns - 1) * right + 3, 2])),
            output: (place, dense([1, 3, columns, channels])),
        };
        let number = |i: usize| (i * 37 + 11) as i32 % 255 - 127;
        let product = Product {
            weights: (0..channels * 12).map(number).collect(),
            bias: (0..channels).map(number).collect(),
            scales: vec![Scale::Real(0.01); channels],
            zero_point: 0,
            range: (-128, 127),
            elem: Scalar::I8,
            fields: None,
        };
        let requantize = Requantize {
            zero_point: 0,
            low: -128,
            high: 127,
            elem: Scalar::I8,
            residual: None,
            scaling: product.scaling(),
        };
        (windows, product, requantize)
    }

    /// Every sum, where its result lies.
    fn sums(windows: &Windows, product: &Product) -> Vec<i32> {
        let (input, output) = (windows.input.1, windows.output.1);
        let x = |i: usize| (i * 101 + 7) as i32 % 256 - 128;
        let [_, h, w, c] = output.extent;
        let mut all = vec![0; h * w * c];
        for (y, column) in (0..h).flat_map(|y| (0..w).map(move |column| (y, column))) {
            for m in 0..c {
                let [_, right] = windows.window.strides;
                let cols = windows.window.extent[1];
                let first = y * input.strides[1] + column * right * input.strides[2];
                let terms = product.row(m).iter().enumerate().map(|(i, weight)| {
                    let (tap, channel) = (i / input.extent[3], i % input.extent[3]);
                    let from = tap / cols * input.strides[1] + tap % cols * input.strides[2];
                    weight * x(first + from + channel)
                });
                let at = y * output.strides[1] + column * output.strides[2] + m;
                all[at] = product.bias[m] + terms.sum::<i32>();
            }
        }
        all
    }

    #[test]
    fn several_pixels_as_one_have_the_same_sums() {
        let target = Target::load("hexagon-hvx").unwrap();
        for (columns, channels, right) in [(4, 8, 1), (4, 8, 2), (6, 16, 1), (9, 10, 3)] {
            let (windows, product, requantize) = case(columns, channels, right);
            let spread = pixels(&target, &windows, &product, &requantize)
                .unwrap_or_else(|| panic!("{channels} channels stay alone"));
            assert!(spread.windows.output.1.extent[3] > channels);
            assert_eq!(
                sums(&windows, &product),
                sums(&spread.windows, &spread.product)
            );
        }
    }

    #[test]
    fn results_with_gaps_between_them_stay_alone() {
        let target = Target::load("hexagon-hvx").unwrap();
        let (mut windows, product, requantize) = case(4, 8, 1);
        windows.output.1.strides = [160, 40, 10, 1];
        assert!(pixels(&target, &windows, &product, &requantize).is_none());
    }
}
