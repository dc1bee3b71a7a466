//! How each layer is computed: the form of its weights and of what they are multiplied with.
//!
//! A scheme has a text form, which the command line, its files and the macro share: a precision, and after
//! commas what else is to be said of integer weights.
//!
//! ```text
//! w8a8  w7a8  w8a7  w8a4  w8a16  w4a8  w2a8 ..   integer weights and integer activations
//! w16  w8  w4  w2                                integer weights, activations stay reals
//! f16  f32                                       reals
//! w4a8,per-tensor,asymmetric,gptq
//! ```

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result, bail};

/// How a layer is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheme {
    /// What its weights are.
    pub weights: Weights,
    /// What they are multiplied with.
    pub activations: Activations,
}

/// The form of the operands and results that are no constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// Integers with one scale a tensor.
    Integers {
        /// 4, 7, 8 or 16. What has fewer than 8 bits is stored in 8.
        bits: u8,
    },
    /// Reals, in f32.
    Float,
}

/// The form of constants that are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Integers with scales.
    Integers(IntegerWeights),
    /// Reals, stored in 16 bits.
    F16,
    /// Reals.
    F32,
}

/// How integers stand for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegerWeights {
    /// 2, 4, 7, 8 or 16; those of 7 bits are stored in 8.
    pub bits: u8,
    /// One scale for each output channel, not for the tensor.
    pub per_channel: bool,
    /// Zero point 0, and as many negative integers as positive ones.
    pub symmetric: bool,
    /// How a weight becomes an integer.
    pub rounding: Rounding,
}

/// How a weight becomes an integer, once its scale is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// The nearest one.
    Nearest,
    /// The one with which the weights after it make good the error that samples show (arXiv 2210.17323).
    Gptq,
}

impl Default for Activations {
    fn default() -> Activations {
        Activations::Integers { bits: 8 }
    }
}

impl Default for Weights {
    fn default() -> Weights {
        Weights::Integers(IntegerWeights::default())
    }
}

impl Default for IntegerWeights {
    fn default() -> IntegerWeights {
        IntegerWeights {
            bits: 8,
            per_channel: true,
            symmetric: true,
            rounding: Rounding::Nearest,
        }
    }
}

/// One word of a scheme's text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Floats(Weights),
    Integers {
        weights: u8,
        activations: Option<u8>,
    },
    PerChannel(bool),
    Symmetric(bool),
    Rounding(Rounding),
}

/// What a word is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// `w8a8`.
    Precision,
    /// `per-tensor,asymmetric`.
    Weights,
    /// `gptq`.
    Rounding,
}

impl FromStr for Word {
    type Err = Error;

    fn from_str(text: &str) -> Result<Word> {
        let word = match text {
            "f32" => Word::Floats(Weights::F32),
            "f16" => Word::Floats(Weights::F16),
            "per-channel" => Word::PerChannel(true),
            "per-tensor" => Word::PerChannel(false),
            "symmetric" => Word::Symmetric(true),
            "asymmetric" => Word::Symmetric(false),
            "nearest" => Word::Rounding(Rounding::Nearest),
            "gptq" => Word::Rounding(Rounding::Gptq),
            _ => match widths(text) {
                Some((weights, activations)) => Word::Integers {
                    weights,
                    activations,
                },
                None => bail!(
                    "`{text}` is no precision";
                    hint: "there are w8a8, w7a8, w8a7, w7a7, w8a4, w8a16, w4a8, w4a16, w2a8, w16, w8, w4, w2, f16 and f32; \
                           of integer weights per-channel, per-tensor, symmetric, asymmetric, nearest and gptq"
                ),
            },
        };
        Ok(word)
    }
}

/// The two numbers of `w4a8`.
fn widths(text: &str) -> Option<(u8, Option<u8>)> {
    let (weights, activations) = match text.strip_prefix('w')?.split_once('a') {
        Some((weights, activations)) => (weights, Some(activations.parse().ok()?)),
        None => (text.strip_prefix('w')?, None),
    };
    let weights = weights.parse().ok()?;
    let known =
        matches!(weights, 2 | 4 | 7 | 8 | 16) && matches!(activations, None | Some(4 | 7 | 8 | 16));
    known.then_some((weights, activations))
}

impl Word {
    fn topic(self) -> Topic {
        match self {
            Word::Floats(_) | Word::Integers { .. } => Topic::Precision,
            Word::PerChannel(_) | Word::Symmetric(_) => Topic::Weights,
            Word::Rounding(_) => Topic::Rounding,
        }
    }
}

impl Scheme {
    /// This scheme, but for what a text says.
    pub fn with(self, text: &str) -> Result<Scheme> {
        self.with_words(text, &[Topic::Precision, Topic::Weights, Topic::Rounding])
    }

    /// [`Self::with`], where the text is about some topics only.
    pub(super) fn with_words(mut self, text: &str, topics: &[Topic]) -> Result<Scheme> {
        for text in text.split(',') {
            let word: Word = text.trim().parse()?;
            if !topics.contains(&word.topic()) {
                bail!("`{text}` is out of place"; hint: "write --precision w4a8 --weights per-tensor --rounding gptq");
            }
            self = self.with_word(word)?;
        }
        Ok(self)
    }

    fn with_word(mut self, word: Word) -> Result<Scheme> {
        let own = match self.weights {
            Weights::Integers(own) => Some(own),
            Weights::F16 | Weights::F32 => None,
        };
        match word {
            Word::Floats(weights) => {
                let activations = Activations::Float;
                return Ok(Scheme {
                    weights,
                    activations,
                });
            }
            Word::Integers {
                weights,
                activations,
            } => {
                self.weights = Weights::Integers(IntegerWeights {
                    bits: weights,
                    ..own.unwrap_or_default()
                });
                let integers = activations.map(|bits| Activations::Integers { bits });
                self.activations = integers.unwrap_or(Activations::Float);
                return Ok(self);
            }
            _ => {}
        }
        let Some(mut own) = own else {
            bail!("weights of reals have no scale, zero point or rounding"; hint: "choose integer weights: w8, w4a8");
        };
        match word {
            Word::PerChannel(per_channel) => own.per_channel = per_channel,
            Word::Symmetric(symmetric) => own.symmetric = symmetric,
            Word::Rounding(rounding) => own.rounding = rounding,
            Word::Floats(_) | Word::Integers { .. } => {}
        }
        self.weights = Weights::Integers(own);
        Ok(self)
    }
}

impl Scheme {
    /// What a layer of this scheme says of itself where `common` is that of all layers.
    pub fn beside(self, common: Scheme) -> String {
        let mut text = self.to_string();
        if let (Weights::Integers(own), Weights::Integers(common)) = (self.weights, common.weights)
        {
            // What is usual has no word of its own, but for where it is not usual.
            let usual = [
                (own.per_channel && !common.per_channel, ",per-channel"),
                (own.symmetric && !common.symmetric, ",symmetric"),
                (
                    own.rounding == Rounding::Nearest && common.rounding != Rounding::Nearest,
                    ",nearest",
                ),
            ];
            text.extend(
                usual
                    .iter()
                    .filter(|(said, _)| *said)
                    .map(|(_, word)| *word),
            );
        }
        text
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = match self.weights {
            Weights::F16 => return write!(f, "f16"),
            Weights::F32 => return write!(f, "f32"),
            Weights::Integers(own) => own,
        };
        write!(f, "w{}", own.bits)?;
        if let Activations::Integers { bits } = self.activations {
            write!(f, "a{bits}")?;
        }
        if !own.per_channel {
            write!(f, ",per-tensor")?;
        }
        if !own.symmetric {
            write!(f, ",asymmetric")?;
        }
        if own.rounding == Rounding::Gptq {
            write!(f, ",gptq")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_keeps_its_scheme_whatever_all_layers_have() {
        let weights = [
            "",
            ",asymmetric",
            ",per-tensor",
            ",gptq",
            ",per-tensor,asymmetric,gptq",
        ];
        let widths = ["w8a8", "w4a16", "w8"];
        let all = || {
            widths
                .iter()
                .flat_map(|w| weights.iter().map(move |words| format!("{w}{words}")))
        };
        let schemes: Vec<Scheme> = all()
            .chain(["f16".into(), "f32".into()])
            .map(|text| Scheme::default().with(&text).expect(&text))
            .collect();
        for common in &schemes {
            for own in &schemes {
                let text = own.beside(*common);
                assert_eq!(
                    common.with(&text).expect(&text),
                    *own,
                    "{text} beside {common}"
                );
            }
        }
    }

    #[test]
    fn texts_and_schemes_are_one_to_one() {
        for text in [
            "w8a8",
            "w8a7",
            "w7a8",
            "w8a4",
            "w8a16",
            "w4a8",
            "w4a16",
            "w2a8",
            "w16",
            "w8",
            "w4",
            "f16",
            "f32",
            "w4a8,per-tensor,asymmetric,gptq",
            "w8,per-tensor",
        ] {
            let scheme = Scheme::default().with(text).unwrap();
            assert_eq!(scheme.to_string(), text);
        }
        assert_eq!(Scheme::default().to_string(), "w8a8");
    }

    #[test]
    fn a_text_changes_what_it_names() {
        let own = IntegerWeights {
            bits: 2,
            per_channel: false,
            symmetric: true,
            rounding: Rounding::Gptq,
        };
        let base = Scheme::default().with("w4,gptq, per-tensor").unwrap();
        let expected = Scheme {
            weights: Weights::Integers(own),
            activations: Activations::Integers { bits: 16 },
        };
        assert_eq!(base.with("w2a16").unwrap(), expected);
        let floats = Scheme {
            weights: Weights::F16,
            activations: Activations::Float,
        };
        assert_eq!(base.with("f16").unwrap(), floats);
    }

    #[test]
    fn other_texts_are_refused() {
        let message = |text: &str| {
            Scheme::default().with(text).unwrap_err().diagnostics[0]
                .message
                .clone()
        };
        for text in ["w3a8", "w8a9", "", "int8", "w8a", "W8A8"] {
            assert_eq!(message(text), format!("`{text}` is no precision"));
        }
        assert_eq!(
            message("f32,gptq"),
            "weights of reals have no scale, zero point or rounding"
        );
        let error = Scheme::default()
            .with_words("gptq", &[Topic::Precision])
            .unwrap_err();
        assert_eq!(error.diagnostics[0].message, "`gptq` is out of place");
    }
}
