//! What stands between the parentheses.

use std::path::PathBuf;
use std::str::FromStr;

use proc_macro2::Span;
use qcc_compiler::data::{self, InputRange, Preprocess, Preset};
use qcc_compiler::ir::Numerics;
use qcc_compiler::passes::quantize::{BiasCorrection, Equalisation, LayerTexts, Scheme, Texts};
use syn::parse::{Parse, ParseStream};
use syn::{Ident, LitBool, LitInt, LitStr, Token, bracketed, token};

/// The arguments of `include_model!`.
pub(crate) struct Arguments {
    /// The model's path as written.
    pub(crate) model: LitStr,
    /// Paths of samples as written.
    pub(crate) calibrate: Vec<LitStr>,
    /// Path of a file of ranges, in the place of samples.
    pub(crate) ranges: Option<LitStr>,
    /// Where the reals of inputs lie.
    pub(crate) input_range: Vec<InputRange>,
    /// The module's name.
    pub(crate) name: Option<Ident>,
    /// How samples become inputs.
    pub(crate) data: data::Options,
    /// Extent of the batch axis.
    pub(crate) batch: usize,
    /// Whether the integers of activations are signed.
    pub(crate) signed: bool,
    /// How many threads may share the work of a layer; 0 where there is no entry for several.
    pub(crate) threads: usize,
    /// Whether threads of the standard library come with the module.
    pub(crate) thread_pool: bool,
    /// What operators on integers compute.
    pub(crate) numerics: Numerics,
    /// Precision, and what else is said of weights.
    pub(crate) precision: Texts,
}

const KNOWN: &str = "calibrate, ranges, input_range, name, preset, scale, mean, std, layout, resize, channels, samples, batch, \
                     input_type, threads, thread_pool, numerics, precision, weights, rounding, equalisation, bias_correction and layers";

impl Parse for Arguments {
    fn parse(input: ParseStream) -> syn::Result<Arguments> {
        let mut arguments = Arguments {
            model: input.parse()?,
            calibrate: vec![],
            ranges: None,
            input_range: vec![],
            name: None,
            data: data::Options::default(),
            batch: 1,
            signed: false,
            threads: 0,
            thread_pool: false,
            numerics: Numerics::default(),
            precision: Texts::default(),
        };
        let mut seen: Vec<Ident> = vec![];
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let name: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            if seen.contains(&name) {
                return Err(syn::Error::new(
                    name.span(),
                    format!("`{name}` is given twice"),
                ));
            }
            arguments.set(&name, input)?;
            seen.push(name);
        }
        Ok(arguments)
    }
}

impl Arguments {
    fn set(&mut self, name: &Ident, input: ParseStream) -> syn::Result<()> {
        let preprocess = &mut self.data.preprocess;
        match name.to_string().as_str() {
            "calibrate" => self.calibrate = texts(input)?,
            "ranges" => self.ranges = Some(input.parse()?),
            "input_range" => {
                let range = |text: &LitStr| meaning(text, FromStr::from_str);
                self.input_range = texts(input)?
                    .iter()
                    .map(range)
                    .collect::<syn::Result<_>>()?;
            }
            "name" => self.name = Some(input.parse()?),
            "preset" => {
                let preset = Preprocess::from(parsed(input, Preset::from_str)?);
                (preprocess.scale, preprocess.mean) = (preset.scale, preset.mean);
                (preprocess.std, preprocess.stated) = (preset.std, true);
                preprocess.stored = preset.stored;
            }
            "scale" => {
                preprocess.scale = parsed(input, data::number)?;
                preprocess.stated = true;
            }
            "mean" => {
                preprocess.mean = parsed(input, data::numbers)?;
                preprocess.stated = true;
            }
            "std" => {
                preprocess.std = parsed(input, data::numbers)?;
                preprocess.stated = true;
            }
            "layout" => preprocess.layout = Some(parsed(input, FromStr::from_str)?),
            "resize" => preprocess.resize = Some(parsed(input, FromStr::from_str)?),
            "channels" => preprocess.channels = parsed(input, FromStr::from_str)?,
            "samples" => self.data.limit = Some(positive(input)?),
            "batch" => self.batch = positive(input)?,
            "input_type" => self.signed = signed(input)?,
            "threads" => self.threads = positive(input)?,
            "thread_pool" => self.thread_pool = input.parse::<LitBool>()?.value,
            "numerics" => self.numerics = parsed(input, FromStr::from_str)?,
            "precision" => self.precision.precision = Some(scheme(input)?),
            "weights" => self.precision.weights = Some(scheme(input)?),
            "rounding" => self.precision.rounding = Some(scheme(input)?),
            "equalisation" => self.precision.equalisation = Some(equalisation(input)?),
            "bias_correction" => self.precision.bias_correction = Some(correction(input)?),
            "layers" => {
                let layer = |text: &LitStr| meaning(text, LayerTexts::parse);
                self.precision.layers = texts(input)?
                    .iter()
                    .map(layer)
                    .collect::<syn::Result<_>>()?;
            }
            _ => {
                let message = format!("no argument is called `{name}`; there are {KNOWN}");
                return Err(syn::Error::new(name.span(), message));
            }
        }
        Ok(())
    }
}

/// One text, or a list in brackets.
fn texts(input: ParseStream) -> syn::Result<Vec<LitStr>> {
    if !input.peek(token::Bracket) {
        return Ok(vec![input.parse()?]);
    }
    let list;
    bracketed!(list in input);
    let texts = list.parse_terminated(<LitStr as Parse>::parse, Token![,])?;
    Ok(texts.into_iter().collect())
}

/// A text with a meaning; what is wrong with it is reported where it stands.
fn parsed<T>(
    input: ParseStream,
    parse: impl Fn(&str) -> qcc_compiler::Result<T>,
) -> syn::Result<T> {
    meaning(&input.parse()?, parse)
}

fn meaning<T>(text: &LitStr, parse: impl Fn(&str) -> qcc_compiler::Result<T>) -> syn::Result<T> {
    parse(&text.value()).map_err(|e| error(text.span(), &e))
}

fn positive(input: ParseStream) -> syn::Result<usize> {
    let number: LitInt = input.parse()?;
    match number.base10_parse()? {
        0 => Err(syn::Error::new(
            number.span(),
            "a positive number is expected",
        )),
        n => Ok(n),
    }
}

/// The text form of a scheme or a part of it.
fn scheme(input: ParseStream) -> syn::Result<String> {
    let text: LitStr = input.parse()?;
    meaning(&text, |text| Scheme::default().with(text))?;
    Ok(text.value())
}

/// The text form of an equalisation.
fn equalisation(input: ParseStream) -> syn::Result<String> {
    let text: LitStr = input.parse()?;
    meaning(&text, Equalisation::from_str)?;
    Ok(text.value())
}

/// The text form of a correction of biases.
fn correction(input: ParseStream) -> syn::Result<String> {
    let text: LitStr = input.parse()?;
    meaning(&text, BiasCorrection::from_str)?;
    Ok(text.value())
}

/// Whether integers are signed.
fn signed(input: ParseStream) -> syn::Result<bool> {
    let text: LitStr = input.parse()?;
    match text.value().as_str() {
        "u8" => Ok(false),
        "i8" => Ok(true),
        _ => Err(syn::Error::new(text.span(), "there are \"u8\" and \"i8\"")),
    }
}

/// The library's error at a place in the source.
pub(crate) fn error(span: Span, error: &qcc_compiler::Error) -> syn::Error {
    syn::Error::new(span, error)
}

/// A path as written, from the folder of the crate.
pub(crate) fn resolve(path: &LitStr) -> syn::Result<PathBuf> {
    let Some(folder) = std::env::var_os("CARGO_MANIFEST_DIR") else {
        let message = "CARGO_MANIFEST_DIR is not set, so paths have no meaning; build with cargo";
        return Err(syn::Error::new(path.span(), message));
    };
    let full = PathBuf::from(folder).join(path.value());
    match full.exists() {
        true => Ok(full),
        false => Err(syn::Error::new(
            path.span(),
            format!(
                "there is no `{}`; paths are relative to the crate's folder",
                path.value()
            ),
        )),
    }
}
