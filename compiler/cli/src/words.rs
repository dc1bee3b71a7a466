//! What single words of the command line mean: parsers that say what is wrong with them.

use std::str::FromStr;

use qcc_compiler::Result;
use qcc_compiler::passes::calibrate::Method;
use qcc_compiler::passes::choose::Accuracy;
use qcc_compiler::passes::quantize::{BiasCorrection, Equalisation, Texts};
use qcc_compiler::target;

use crate::args::AUTO;

/// Bits, or `auto`, as they are written.
pub(crate) fn precision(text: &str) -> Result<String> {
    if text == AUTO {
        return Ok(text.to_string());
    }
    let texts = Texts {
        precision: Some(text.to_string()),
        ..Texts::default()
    };
    texts.options(false).map(|_| text.to_string())
}

/// The form of weights, as it is written.
pub(crate) fn weights(text: &str) -> Result<String> {
    let texts = Texts {
        weights: Some(text.to_string()),
        ..Texts::default()
    };
    texts.options(false).map(|_| text.to_string())
}

/// A rounding, as it is written.
pub(crate) fn rounding(text: &str) -> Result<String> {
    let texts = Texts {
        rounding: Some(text.to_string()),
        ..Texts::default()
    };
    texts.options(false).map(|_| text.to_string())
}

/// A method of calibration, as it is written.
pub(crate) fn method(text: &str) -> Result<String> {
    Method::from_str(text).map(|_| text.to_string())
}

/// An equalisation, as it is written.
pub(crate) fn equalisation(text: &str) -> Result<String> {
    Equalisation::from_str(text).map(|_| text.to_string())
}

/// A correction of biases, as it is written.
pub(crate) fn correction(text: &str) -> Result<String> {
    BiasCorrection::from_str(text).map(|_| text.to_string())
}

/// A positive number.
pub(crate) fn extent(text: &str) -> std::result::Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("a positive number is expected".to_string()),
    }
}

/// `200k`, `1.5M`.
pub(crate) fn bytes(text: &str) -> std::result::Result<u64, String> {
    let (number, unit) = match text.trim_end_matches(['k', 'K', 'm', 'M']) {
        number if number.len() == text.len() => (number, 1.0),
        number if text.ends_with(['k', 'K']) => (number, 1024.0),
        number => (number, 1024.0 * 1024.0),
    };
    match number.parse::<f64>() {
        Ok(n) if n > 0.0 && n.is_finite() => Ok((n * unit) as u64),
        _ => Err("write a number of bytes: 123456, 200k or 1.5M".to_string()),
    }
}

/// `84.5`, `float-0.5`, in percent.
pub(crate) fn accuracy(text: &str) -> std::result::Result<Accuracy, String> {
    let percent = |text: &str| match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("write percent, 84.5, or what may be lost, float-0.5".to_string()),
    };
    match text.strip_prefix("float") {
        Some("") => Ok(Accuracy::BelowFloat(0.0)),
        Some(less) => percent(less.strip_prefix('-').unwrap_or(less)).map(Accuracy::BelowFloat),
        None => percent(text).map(Accuracy::Share),
    }
}

/// `NAME=N`.
pub(crate) fn dimension(text: &str) -> std::result::Result<(String, usize), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=N")?;
    Ok((name.to_string(), extent(value)?))
}

/// `INPUT=NAME`, or `NAME` for the only input.
pub(crate) fn array(text: &str) -> std::result::Result<(String, String), String> {
    let (input, name) = text.split_once('=').unwrap_or(("", text));
    Ok((input.to_string(), name.to_string()))
}

/// The name of a machine.
pub(crate) fn machine() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(target::names())
}
