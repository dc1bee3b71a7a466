//! From stored numbers to what the network was trained on: `(x · scale − mean) / std`.

use std::str::FromStr;

use crate::ir::Range;
use crate::{Error, Result, bail};

/// The arithmetic and geometry between stored samples and the model's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Multiplies every stored number, first.
    pub scale: f32,
    /// Subtracted after scaling: one number, or one for each channel.
    pub mean: Vec<f32>,
    /// Divides last: one number, or one for each channel.
    pub std: Vec<f32>,
    /// Order of the axes of a stored sample of three axes; found from the shapes when `None`.
    pub layout: Option<Layout>,
    /// How images become the size of the input; must agree already when `None`.
    pub resize: Option<Resize>,
    /// Order of colours that the network expects.
    pub channels: Channels,
    /// Whether any of the arithmetic was asked for: images demand that it was.
    pub stated: bool,
    /// Where stored numbers lie, if that is known.
    pub stored: Option<Range>,
}

/// Order of the axes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Channels, height, width.
    Nchw,
    /// Height, width, channels.
    Nhwc,
}

/// Geometry of an image before it enters the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// To this width and height, whatever the image's proportions.
    Exact(u32, u32),
    /// The shorter side to this length; the centre is then cut out in the input's size.
    ShortSide(u32),
}

/// Order of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// Red first, as in files.
    #[default]
    Rgb,
    /// Blue first, as OpenCV and Caffe hold images.
    Bgr,
}

/// A named set of `scale`, `mean` and `std`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Torchvision: `x / 255`, then the mean and deviation of ImageNet's colours.
    Imagenet,
    /// Keras and TensorFlow: `(x − 127.5) / 127.5`.
    Tf,
    /// `x / 255`.
    Unit,
    /// Numbers as they are.
    Raw,
}

impl Default for Preprocess {
    fn default() -> Preprocess {
        Preprocess {
            scale: 1.0,
            mean: vec![0.0],
            std: vec![1.0],
            layout: None,
            resize: None,
            channels: Channels::Rgb,
            stated: false,
            stored: None,
        }
    }
}

impl From<Preset> for Preprocess {
    fn from(preset: Preset) -> Preprocess {
        let (scale, mean, std) = match preset {
            Preset::Imagenet => (
                1.0 / 255.0,
                vec![0.485, 0.456, 0.406],
                vec![0.229, 0.224, 0.225],
            ),
            Preset::Tf => (1.0, vec![127.5], vec![127.5]),
            Preset::Unit => (1.0 / 255.0, vec![0.0], vec![1.0]),
            Preset::Raw => (1.0, vec![0.0], vec![1.0]),
        };
        let pixels = Range {
            min: 0.0,
            max: 255.0,
        };
        Preprocess {
            scale,
            mean,
            std,
            stated: true,
            // Numbers that stay as they are need not be pixels.
            stored: (preset != Preset::Raw).then_some(pixels),
            ..Preprocess::default()
        }
    }
}

impl Preprocess {
    /// How many channels the arithmetic tells apart: 1 when it treats all alike.
    pub(super) fn distinct(&self) -> usize {
        match self.channels {
            Channels::Bgr => 3,
            Channels::Rgb => self.mean.len().max(self.std.len()),
        }
    }

    /// Refuses numbers that cannot be meant.
    pub(super) fn check(&self) -> Result<()> {
        let counts = [self.mean.len(), self.std.len()];
        if counts.contains(&0) || self.std.contains(&0.0) {
            bail!("mean and std need at least one number each, and std none that is zero");
        }
        let distinct = self.distinct();
        if counts.iter().any(|n| *n != 1 && *n != distinct) {
            bail!(
                "mean has {} numbers and std has {}, for {distinct} channels", counts[0], counts[1];
                hint: "give one number, or one for each channel"
            );
        }
        Ok(())
    }

    /// Where the inputs lie that stored numbers become, if it is known where those lie.
    pub fn range(&self) -> Option<Range> {
        let stored = self.stored?;
        let mut limits = vec![];
        for x in [stored.min, stored.max] {
            let mut pixel = vec![x; self.distinct()];
            let channels = pixel.len();
            self.apply(&mut pixel, channels, 1);
            limits.extend(pixel);
        }
        let limits = limits.into_iter().map(|x| Range { min: x, max: x });
        limits.reduce(Range::union)
    }

    /// Applies to one sample, in place; neighbouring channels lie `inner` elements apart.
    /// Colours are swapped first, so mean and std are in the order that the network sees.
    pub(super) fn apply(&self, sample: &mut [f32], channels: usize, inner: usize) {
        if self.channels == Channels::Bgr {
            for pixel in sample.chunks_exact_mut(3 * inner) {
                let (red, rest) = pixel.split_at_mut(inner);
                red.swap_with_slice(&mut rest[inner..]);
            }
        }
        let at = |list: &[f32], c: usize| list[if list.len() == 1 { 0 } else { c }];
        for (i, x) in sample.iter_mut().enumerate() {
            let c = i / inner % channels;
            *x = (*x * self.scale - at(&self.mean, c)) / at(&self.std, c);
        }
    }
}

/// A number or a quotient: `0.5`, `1/255`.
pub fn number(text: &str) -> Result<f32> {
    let parse = |t: &str| t.trim().parse::<f64>().ok().filter(|x| x.is_finite());
    let value = match text.split_once('/') {
        Some((a, b)) => parse(a).zip(parse(b)).map(|(a, b)| a / b),
        None => parse(text),
    };
    match value.map(|x| x as f32).filter(|x| x.is_finite()) {
        Some(x) => Ok(x),
        None => bail!("`{text}` is not a number"; hint: "write it as 0.5 or 1/255"),
    }
}

/// Numbers separated by commas.
pub fn numbers(text: &str) -> Result<Vec<f32>> {
    text.split(',').map(number).collect()
}

impl FromStr for Preset {
    type Err = Error;
    fn from_str(text: &str) -> Result<Preset> {
        match text {
            "imagenet" => Ok(Preset::Imagenet),
            "tf" => Ok(Preset::Tf),
            "unit" => Ok(Preset::Unit),
            "raw" => Ok(Preset::Raw),
            _ => {
                bail!("no preset is called `{text}`"; hint: "there are imagenet, tf, unit and raw")
            }
        }
    }
}

impl FromStr for Layout {
    type Err = Error;
    fn from_str(text: &str) -> Result<Layout> {
        match text.to_ascii_lowercase().as_str() {
            "nchw" => Ok(Layout::Nchw),
            "nhwc" => Ok(Layout::Nhwc),
            _ => bail!("`{text}` is no layout"; hint: "there are nchw and nhwc"),
        }
    }
}

impl FromStr for Channels {
    type Err = Error;
    fn from_str(text: &str) -> Result<Channels> {
        match text.to_ascii_lowercase().as_str() {
            "rgb" => Ok(Channels::Rgb),
            "bgr" => Ok(Channels::Bgr),
            _ => bail!("`{text}` is no order of colours"; hint: "there are rgb and bgr"),
        }
    }
}

impl FromStr for Resize {
    type Err = Error;
    fn from_str(text: &str) -> Result<Resize> {
        let side = |t: &str| t.parse::<u32>().ok().filter(|n| (1..=16384).contains(n));
        let size = match text.split_once('x') {
            Some((w, h)) => side(w).zip(side(h)).map(|(w, h)| Resize::Exact(w, h)),
            None => side(text).map(Resize::ShortSide),
        };
        match size {
            Some(size) => Ok(size),
            None => bail!(
                "`{text}` is no size of an image";
                hint: "write 224x224 (width and height), or 256 (the shorter side, then the centre is cut out)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_quotients() {
        assert_eq!(number("1/255").unwrap(), 1.0 / 255.0);
        assert_eq!(numbers("1, -2.5,1/4").unwrap(), [1.0, -2.5, 0.25]);
        for wrong in ["", "1/0", "x", "nan", "1/2/3"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn presets_tell_where_pixels_come_to_lie() {
        let limits = |preset: Preset| {
            let range = Preprocess::from(preset).range();
            range.map(|r| (r.min, r.max))
        };
        assert_eq!(limits(Preset::Unit), Some((0.0, 1.0)));
        assert_eq!(limits(Preset::Tf), Some((-1.0, 1.0)));
        assert_eq!(limits(Preset::Raw), None);
        // Torchvision's darkest red and brightest blue.
        let (min, max) = limits(Preset::Imagenet).unwrap();
        assert!((min + 0.485 / 0.229).abs() < 1e-6, "{min}");
        assert!((max - (1.0 - 0.406) / 0.225).abs() < 1e-6, "{max}");
    }

    #[test]
    fn sizes_are_exact_or_of_the_short_side() {
        assert_eq!("96x64".parse(), Ok(Resize::Exact(96, 64)));
        assert_eq!("256".parse(), Ok(Resize::ShortSide(256)));
        assert!("0x5".parse::<Resize>().is_err());
    }

    #[test]
    fn caffe_swaps_colours_before_subtracting() {
        let caffe = Preprocess {
            channels: Channels::Bgr,
            mean: vec![100.0, 10.0, 1.0],
            ..Preprocess::default()
        };
        let mut pixels = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        caffe.apply(&mut pixels, 3, 1);
        assert_eq!(pixels, [-97.0, -8.0, 0.0, -94.0, -5.0, 3.0]);
    }
}
