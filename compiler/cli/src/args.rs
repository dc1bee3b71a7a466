//! Arguments that several commands share, and what they mean to the library.

use std::path::PathBuf;

use qcc_compiler::data::{self, Channels, InputRange, Layout, Preprocess, Preset, Resize};
use qcc_compiler::ir::Numerics;
use qcc_compiler::passes::calibrate::{Method, Ranges};
use qcc_compiler::passes::choose::{Accuracy, Goal};
use qcc_compiler::passes::quantize::{self, BiasCorrection, LayerTexts, Rounding, Texts, Weights};
use qcc_compiler::target::{Language, Target};
use qcc_compiler::{Error, Result, bail, lower, onnx};

use crate::words::{
    accuracy, array, bytes, correction, dimension, equalisation, extent, machine, method,
    precision, rounding, weights,
};

/// Which network, with all its dimensions fixed.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    /// The network, an ONNX file
    pub(crate) model: PathBuf,
    /// Extent of the batch axis, where the file leaves it open
    #[arg(long, value_name = "N", default_value = "1", value_parser = extent)]
    batch: usize,
    /// Extent of any other dimension that the file leaves open; may be repeated
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dimension)]
    dims: Vec<(String, usize)>,
    /// What operators on integers compute: onnx, or tflite
    ///
    /// onnx: the reals of ONNX's pages, rounded to the nearest integer.
    /// tflite: the integers of TFLite's reference kernels, for networks that were quantized for it; operators that
    /// qcc does not know in that arithmetic are refused.
    #[arg(long, value_name = "WHOSE", default_value = "onnx")]
    pub(crate) numerics: Numerics,
}

/// The precision that is chosen for each layer.
pub(crate) const AUTO: &str = "auto";

/// Where ranges come from, and the integers that stand for reals.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Quantization")]
pub(crate) struct QuantizeArgs {
    /// Samples that the network is made for: .npz, .npy or a folder of images; may be repeated
    ///
    /// Some hundred are enough; labels are not needed.
    /// Without samples the ranges come from batch normalization, where the network has enough of it, and from
    /// --input-range.
    #[arg(long, value_name = "DATA")]
    pub(crate) calibrate: Vec<PathBuf>,
    /// Where the reals of an input lie, of all inputs without a name: -1..1, image=0..255; may be repeated
    ///
    /// A preset for pixels (imagenet, tf, unit) tells it too.
    /// With samples, what is stated goes before what they show.
    #[arg(long, value_name = "[NAME=]MIN..MAX", allow_hyphen_values = true)]
    pub(crate) input_range: Vec<InputRange>,
    /// How ranges follow from samples: minmax, moving-average, percentile, percentile=99.9, entropy or mse
    ///
    /// minmax where not given. Activations of 4 bits are better served by percentile=99 or percentile=99.9.
    #[arg(long, value_name = "METHOD", value_parser = method)]
    calibration: Option<String>,
    /// What qcc calibrate has written, in the place of samples
    #[arg(long, value_name = "FILE", conflicts_with_all = ["calibrate", "input_range", "calibration"])]
    pub(crate) ranges: Option<PathBuf>,
    /// Integers of activations, inputs and outputs
    #[arg(long, value_enum, default_value = "u8")]
    input_type: IntArg,
    /// Bits of weights and activations: w8a8, w4a8, w2a8, w8a16, w4a16, w7a8, w8a7, w7a7, w8a4; activations of reals: w16, w8, w4, w2, f16, f32; auto
    ///
    /// auto starts at w8a8 and chooses a width for each layer, by measurement on the samples: see the three options
    /// below, and qcc help choose.
    #[arg(long, value_name = "PRECISION", value_parser = precision)]
    precision: Option<String>,
    /// Precision of the layers whose names a pattern matches: 'features.0*=w8a16'; may be repeated, the last counts
    ///
    /// `*` stands for any text, `?` for any one character; `qcc inspect` lists the names.
    /// What the precision does not name is as for every layer: 'head=w8a8,nearest'.
    #[arg(long, value_name = "PATTERN=PRECISION", value_parser = LayerTexts::parse)]
    layer: Vec<LayerTexts>,
    /// Scales of integer weights: per-channel or per-tensor, symmetric or asymmetric
    #[arg(long, value_name = "WORD,..", value_parser = weights)]
    weights: Option<String>,
    /// How weights become integers: nearest, or gptq, which learns from samples what errors cancel
    #[arg(long, value_name = "METHOD", value_parser = rounding)]
    rounding: Option<String>,
    /// How channels of one tensor are brought together: none, scales (to one magnitude), or shifts (then about one middle)
    ///
    /// scales where not given.
    /// shifts moves offsets that channels have in all samples into the biases after them.
    #[arg(long, value_name = "METHOD", value_parser = equalisation)]
    equalisation: Option<String>,
    /// What biases make good: none, analytic (the mean error of rounded weights), or samples
    ///
    /// samples evaluates the quantized network beside the float one and gives each bias, layer by layer, the mean
    /// error of all that is rounded up to its sum.
    #[arg(long, value_name = "METHOD", value_parser = correction)]
    bias_correction: Option<String>,
    /// The options above from a TOML file; what the command line says goes before
    ///
    /// precision = "w4a8", weights = "per-tensor", rounding = "gptq", equalisation = "shifts",
    /// bias_correction = "samples", calibration = "mse", and for some layers tables `[[layer]]` with match = "features.0*" and precision = "w8a16".
    #[arg(long, value_name = "FILE")]
    overrides: Option<PathBuf>,
    /// With --precision auto: the best network whose constants take at most this many bytes: 200k, 1.5M
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_flash: Option<u64>,
    /// With --precision auto: the smallest network that answers this share of the samples right: 84.5, or float-0.5
    #[arg(long, value_name = "PERCENT", value_parser = accuracy)]
    min_accuracy: Option<Accuracy>,
    /// With --precision auto: the smallest network whose outputs have this ratio of signal to noise, in decibel
    #[arg(long, value_name = "DB")]
    min_sqnr: Option<f64>,
}

/// How samples become inputs: `(x · scale − mean) / std`, in the layout that the network has.
#[derive(clap::Args)]
#[command(next_help_heading = "Samples")]
pub(crate) struct DataArgs {
    /// Named arithmetic: imagenet (torchvision), tf ((x-127.5)/127.5), unit (x/255), raw
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// Multiplies each number: 1/255
    #[arg(long, value_name = "X", value_parser = data::number, allow_hyphen_values = true)]
    scale: Option<f32>,
    /// Subtracted after scaling: one number, or one for each channel: 0.485,0.456,0.406
    #[arg(long, value_name = "X,..", value_parser = Numbers::parse, allow_hyphen_values = true)]
    mean: Option<Numbers>,
    /// Divides last: one number, or one for each channel
    #[arg(long, value_name = "X,..", value_parser = Numbers::parse, allow_hyphen_values = true)]
    std: Option<Numbers>,
    /// Where the samples have their channels: nchw or nhwc; found from the shapes where not given
    #[arg(long)]
    layout: Option<Layout>,
    /// Size of images: 224x224, or 256 for the shorter side with the centre cut out
    #[arg(long, value_name = "WxH")]
    resize: Option<Resize>,
    /// Order of colours that the network expects: rgb or bgr
    #[arg(long, default_value = "rgb")]
    channels: Channels,
    /// Array of a .npz that feeds an input: input=NAME, or NAME for the only input; may be repeated
    #[arg(long, value_name = "[INPUT=]NAME", value_parser = array)]
    array: Vec<(String, String)>,
    /// Array of a .npz that holds the labels; `labels`, `label` and `y` are found
    #[arg(long, value_name = "NAME")]
    labels: Option<String>,
    /// Added to each label: 1 for networks whose class 0 is the background
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        allow_hyphen_values = true
    )]
    label_offset: i64,
    /// At most this many samples of each source
    #[arg(long, value_name = "N", value_parser = extent)]
    samples: Option<usize>,
}

/// Which machine, and what its program looks like from outside.
#[derive(clap::Args)]
pub(crate) struct TargetArgs {
    /// The machine; `qcc targets` lists them
    #[arg(long, value_name = "MACHINE", default_value = "generic", value_parser = machine())]
    pub(crate) target: String,
    /// Take images with their channels last, as cameras and decoders store them
    #[arg(long)]
    channels_last: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum IntArg {
    /// 0 to 255
    U8,
    /// −128 to 127
    I8,
}

/// A list in one argument.
#[derive(Clone)]
struct Numbers(Vec<f32>);

impl Numbers {
    fn parse(text: &str) -> Result<Numbers> {
        data::numbers(text).map(Numbers)
    }
}

/// The language of emitted source, on the command line.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LanguageArg {
    /// A no_std module
    Rust,
    /// C99, a source file and its header
    C,
}

impl From<LanguageArg> for Language {
    fn from(arg: LanguageArg) -> Language {
        match arg {
            LanguageArg::Rust => Language::Rust,
            LanguageArg::C => Language::C,
        }
    }
}

impl ModelArgs {
    /// For the importer.
    pub(crate) fn options(&self) -> onnx::Options {
        onnx::Options {
            batch: self.batch,
            dims: self.dims.iter().cloned().collect(),
            numerics: self.numerics,
            ..onnx::Options::default()
        }
    }
}

impl ModelArgs {
    /// As on the command line, where it is not the default.
    pub(crate) fn describe(&self) -> String {
        match self.numerics {
            Numerics::Onnx => String::new(),
            other => format!(" --numerics {other}"),
        }
    }
}

impl TargetArgs {
    /// The machine's file.
    pub(crate) fn load(&self) -> Result<Target> {
        Target::load(&self.target)
    }

    /// For lowering.
    pub(crate) fn options(&self) -> lower::Options {
        lower::Options {
            channels_last_input: self.channels_last,
            ..lower::Options::default()
        }
    }

    /// As on the command line.
    pub(crate) fn describe(&self) -> String {
        let last = if self.channels_last {
            " --channels-last"
        } else {
            ""
        };
        format!("--target {}{last}", self.target)
    }
}

impl QuantizeArgs {
    /// What shaped the integers, as on the command line; files without their folders.
    pub(crate) fn describe(&self) -> Result<String> {
        let mut text = self.describe_calibration()?;
        if let IntArg::I8 = self.input_type {
            text += " --input-type i8";
        }
        if let Some(path) = &self.overrides {
            let name = path.file_name().unwrap_or(path.as_os_str());
            text += &format!(" --overrides {}", name.to_string_lossy());
        }
        let choices = [
            ("precision", &self.precision),
            ("weights", &self.weights),
            ("rounding", &self.rounding),
            ("equalisation", &self.equalisation),
            ("bias-correction", &self.bias_correction),
        ];
        for (option, choice) in choices {
            if let Some(choice) = choice {
                text += &format!(" --{option} {choice}");
            }
        }
        if let Some(bytes) = self.max_flash {
            text += &format!(" --max-flash {bytes}");
        }
        match self.min_accuracy {
            Some(Accuracy::Share(share)) => text += &format!(" --min-accuracy {}", 100.0 * share),
            Some(Accuracy::BelowFloat(less)) => {
                text += &format!(" --min-accuracy float-{}", 100.0 * less);
            }
            None => {}
        }
        if let Some(ratio) = self.min_sqnr {
            text += &format!(" --min-sqnr {ratio}");
        }
        for LayerTexts { pattern, precision } in &self.layer {
            text += &format!(" --layer {pattern}={precision}");
        }
        Ok(text)
    }

    /// What shaped the ranges; of a file of ranges what shaped those.
    pub(crate) fn describe_calibration(&self) -> Result<String> {
        if let Some(ranges) = self.ranges()? {
            return Ok(ranges.calibration);
        }
        let mut text = String::new();
        for path in &self.calibrate {
            let name = path.file_name().unwrap_or(path.as_os_str());
            text += &format!(" --calibrate {}", name.to_string_lossy());
        }
        for range in &self.input_range {
            text += &format!(" --input-range {range}");
        }
        let method = self.method()?;
        if method != Method::default() {
            text += &format!(" --calibration {method}");
        }
        Ok(text)
    }

    /// What the file of ranges holds, if one is given.
    pub(crate) fn ranges(&self) -> Result<Option<Ranges>> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| Error::new(format!("cannot read {}: {e}", path.display())));
            Ranges::read(&text?)
        };
        self.ranges.as_ref().map(read).transpose()
    }

    /// A file of ranges keeps the method that it was made with: another cannot be asked for.
    pub(crate) fn check_ranges(&self, ranges: &Ranges) -> Result<()> {
        let Some(wanted) = self.texts()?.calibration else {
            return Ok(());
        };
        let mut words = ranges.calibration.split(' ');
        let had = words
            .find(|word| *word == "--calibration")
            .and(words.next());
        let had: Method = had.map_or(Ok(Method::default()), str::parse)?;
        if had != wanted.parse()? {
            bail!(
                "the overrides ask for calibration {wanted}, and the ranges were made by {had}";
                hint: "write the ranges again with qcc calibrate --calibration {wanted}"
            );
        }
        Ok(())
    }

    /// How ranges follow from samples.
    pub(crate) fn method(&self) -> Result<Method> {
        self.texts()?.method()
    }

    /// Whether a width is to be chosen for each layer.
    pub(crate) fn is_auto(&self) -> bool {
        self.precision.as_deref() == Some(AUTO)
    }

    /// The same, with a width chosen for each layer.
    pub(crate) fn as_auto(&self) -> Result<QuantizeArgs> {
        if let Some(precision) = self.precision.as_ref().filter(|_| !self.is_auto()) {
            bail!(
                "a width for each layer is chosen from w8a8 on, not from {precision}";
                hint: "pin layers with --layer instead"
            );
        }
        Ok(QuantizeArgs {
            precision: Some(AUTO.to_string()),
            ..self.clone()
        })
    }

    /// How weights of less than 8 bits are rounded where each layer's width is chosen.
    pub(crate) fn narrow_rounding(&self) -> Result<Rounding> {
        match (self.calibrate.is_empty(), self.options()?.scheme.weights) {
            (false, _) if self.rounding.is_none() => Ok(Rounding::Gptq),
            (_, Weights::Integers(form)) => Ok(form.rounding),
            _ => Ok(Rounding::Nearest),
        }
    }

    /// What calibration is to learn.
    pub(crate) fn learning_options(&self) -> Result<quantize::Options> {
        let mut options = self.options()?;
        if let (true, Weights::Integers(form)) = (self.is_auto(), &mut options.scheme.weights) {
            form.rounding = self.narrow_rounding()?;
            // What biases gain depends on what is chosen.
            options.bias = BiasCorrection::Analytic;
        }
        Ok(options)
    }

    /// What `--precision auto` is to reach.
    pub(crate) fn goal(&self) -> Goal {
        Goal {
            max_flash: self.max_flash,
            min_sqnr: self.min_sqnr,
            min_accuracy: self.min_accuracy,
        }
    }

    /// The same, with what repairs have been found to help.
    pub(crate) fn with(&self, found: Texts) -> QuantizeArgs {
        QuantizeArgs {
            calibration: found.calibration,
            rounding: found.rounding,
            equalisation: found.equalisation,
            bias_correction: found.bias_correction,
            ..self.clone()
        }
    }

    /// Whether the integers of activations are signed.
    pub(crate) fn signed(&self) -> bool {
        matches!(self.input_type, IntArg::I8)
    }

    /// For the quantizer.
    pub(crate) fn options(&self) -> Result<quantize::Options> {
        self.texts()?.options(self.signed())
    }

    /// What the command line and its file say.
    pub(crate) fn texts(&self) -> Result<Texts> {
        let file = self.overrides.as_ref().map(|path| {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| Error::new(format!("cannot read {}: {e}", path.display())));
            Texts::read(&text?)
        });
        let own = Texts {
            precision: self.precision.clone().filter(|_| !self.is_auto()),
            weights: self.weights.clone(),
            rounding: self.rounding.clone(),
            calibration: self.calibration.clone(),
            equalisation: self.equalisation.clone(),
            bias_correction: self.bias_correction.clone(),
            layers: self.layer.clone(),
        };
        Ok(file.transpose()?.unwrap_or_default().then(own))
    }
}

impl DataArgs {
    /// For the reader of samples.
    pub(crate) fn options(&self) -> data::Options {
        let base = self
            .preset
            .map_or_else(Preprocess::default, Preprocess::from);
        let stated =
            base.stated || self.scale.is_some() || self.mean.is_some() || self.std.is_some();
        let preprocess = Preprocess {
            scale: self.scale.unwrap_or(base.scale),
            mean: self.mean.clone().map_or(base.mean, |n| n.0),
            std: self.std.clone().map_or(base.std, |n| n.0),
            layout: self.layout,
            resize: self.resize,
            channels: self.channels,
            stated,
            stored: base.stored,
        };
        data::Options {
            preprocess,
            arrays: self.array.iter().cloned().collect(),
            labels: self.labels.clone(),
            label_offset: self.label_offset,
            limit: self.samples,
        }
    }
}
