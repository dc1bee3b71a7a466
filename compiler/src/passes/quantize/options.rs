//! Which scheme each layer has: one for all, and others for the layers that a pattern names.

use std::str::FromStr;

use serde::Deserialize;

use super::correction::BiasCorrection;
use super::scheme::{Rounding, Scheme, Topic, Weights};
use crate::ir::{IntType, Model, Node};
use crate::passes::calibrate::Method;
use crate::passes::equalise::Equalisation;
use crate::{Error, Result, bail};

/// Choices of the quantization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the integers of activations are signed.
    pub signed: bool,
    /// Of every layer that no pattern names.
    pub scheme: Scheme,
    /// Of some layers; the last one that names a layer counts.
    pub layers: Vec<Layers>,
    /// How channels of one tensor are brought together.
    pub equalisation: Equalisation,
    /// What biases make good.
    pub bias: BiasCorrection,
}

/// A scheme for the layers that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// A node's name; `*` stands for any text, `?` for any one character.
    pub pattern: String,
    /// How these are computed.
    pub scheme: Scheme,
}

/// [`Options`] as texts: what the command line, its file and the macro take.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// `w4a8`.
    pub precision: Option<String>,
    /// `per-tensor,asymmetric`.
    pub weights: Option<String>,
    /// `gptq`.
    pub rounding: Option<String>,
    /// `mse`, of how ranges follow from samples: nothing that [`Options`] hold.
    pub calibration: Option<String>,
    /// `shifts`.
    pub equalisation: Option<String>,
    /// `samples`.
    pub bias_correction: Option<String>,
    /// For some layers.
    #[serde(default, rename = "layer")]
    pub layers: Vec<LayerTexts>,
}

/// [`Layers`] as texts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerTexts {
    /// A node's name, with `*` and `?`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// `w8a16`, or `w4a8,gptq`; what it does not name is as for every layer.
    pub precision: String,
}

impl Options {
    /// The scheme of a node.
    pub fn scheme(&self, node: &Node) -> Scheme {
        let named = self.layers.iter().rev();
        let mut named = named.filter(|layers| matches(&layers.pattern, &node.name));
        named.next().map_or(self.scheme, |layers| layers.scheme)
    }

    /// Whether something is said of a node in particular.
    pub fn names(&self, node: &Node) -> bool {
        let mut layers = self.layers.iter();
        layers.any(|layers| matches(&layers.pattern, &node.name))
    }

    /// Whether the weights of a node are rounded as samples teach.
    pub fn learns(&self, node: &Node) -> bool {
        matches!(self.scheme(node).weights, Weights::Integers(form) if form.rounding == Rounding::Gptq)
    }

    /// The type of activations of some bits: what has fewer than 8 is stored in 8.
    pub(super) fn int(&self, bits: u8) -> IntType {
        let signed = self.signed;
        IntType {
            bits: bits.max(8),
            signed,
        }
    }

    /// Every pattern names some node.
    pub fn check(&self, model: &Model) -> Result<()> {
        let unknown = |pattern: &str| !model.nodes.iter().any(|node| matches(pattern, &node.name));
        let unknown = self.layers.iter().filter(|layers| unknown(&layers.pattern));
        Error::collect(unknown.map(|layers| {
            let near = near(model, &layers.pattern).join("`, `");
            Error::new(format!("no node is called `{}`", layers.pattern))
                .hint(format!("near are `{near}`; qcc inspect lists all"))
        }))
    }
}

impl LayerTexts {
    /// From `PATTERN=PRECISION`.
    pub fn parse(text: &str) -> Result<LayerTexts> {
        // Names may hold anything, precisions no equals sign.
        let Some((pattern, precision)) = text.rsplit_once('=') else {
            bail!("`{text}` names no precision"; hint: "write NAME=PRECISION: features.0*=w8a16");
        };
        Scheme::default().with(precision)?;
        Ok(LayerTexts {
            pattern: pattern.to_string(),
            precision: precision.to_string(),
        })
    }
}

impl Texts {
    /// From a TOML file's text.
    pub fn read(text: &str) -> Result<Texts> {
        toml::from_str(text).map_err(|e| {
            let message = e.to_string().trim_end().replace('\n', "\n  ");
            Error::new(format!("the file of overrides is not as expected: {message}"))
                .hint("write precision = \"w4a8\", weights, rounding, calibration, equalisation, bias_correction, and tables [[layer]] with match and precision")
        })
    }

    /// These texts, but for what others say; layers that others name go before.
    pub fn then(mut self, others: Texts) -> Texts {
        self.layers.extend(others.layers);
        Texts {
            precision: others.precision.or(self.precision),
            weights: others.weights.or(self.weights),
            rounding: others.rounding.or(self.rounding),
            calibration: others.calibration.or(self.calibration),
            equalisation: others.equalisation.or(self.equalisation),
            bias_correction: others.bias_correction.or(self.bias_correction),
            layers: self.layers,
        }
    }

    /// How ranges follow from samples.
    pub fn method(&self) -> Result<Method> {
        parsed(&self.calibration)
    }

    /// What they mean.
    pub fn options(&self, signed: bool) -> Result<Options> {
        let texts = [
            (&self.precision, Topic::Precision),
            (&self.weights, Topic::Weights),
            (&self.rounding, Topic::Rounding),
        ];
        let mut scheme = Scheme::default();
        for (text, topic) in texts {
            if let Some(text) = text {
                scheme = scheme.with_words(text, &[topic])?;
            }
        }
        let layers = self.layers.iter().map(|texts| {
            Ok(Layers {
                pattern: texts.pattern.clone(),
                scheme: scheme.with(&texts.precision)?,
            })
        });
        Ok(Options {
            signed,
            scheme,
            layers: layers.collect::<Result<_>>()?,
            equalisation: parsed(&self.equalisation)?,
            bias: parsed(&self.bias_correction)?,
        })
    }
}

/// What a text means, or the default where there is none.
fn parsed<T: FromStr<Err = Error> + Default>(text: &Option<String>) -> Result<T> {
    text.as_deref().map_or(Ok(T::default()), str::parse)
}

/// Whether a name is what a pattern says: `*` stands for any text, `?` for any one character.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return name.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    match (first, name.chars().next()) {
        ('*', None) => matches(rest, name),
        ('*', Some(c)) => matches(rest, name) || matches(pattern, &name[c.len_utf8()..]),
        (_, None) => false,
        (p, Some(c)) => (p == '?' || p == c) && matches(rest, &name[c.len_utf8()..]),
    }
}

/// The three names that differ least from a pattern.
fn near<'a>(model: &'a Model, pattern: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = model.nodes.iter().map(|node| &node.name[..]).collect();
    names.sort_by_cached_key(|name| distance(pattern, name));
    names.truncate(3);
    names
}

/// Characters to insert, remove or change until one text is the other (Levenshtein); those of a `*` are free.
fn distance(pattern: &str, name: &str) -> usize {
    let name: Vec<char> = name.chars().collect();
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for p in pattern.chars() {
        let above = row.clone();
        row[0] += usize::from(p != '*');
        for (i, c) in name.iter().enumerate() {
            let free = usize::from(p != '*');
            let changed = above[i] + usize::from(!matches!(p, '*' | '?') && p != *c);
            row[i + 1] = changed.min(above[i + 1] + free).min(row[i] + free);
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{Sketch, conv};

    fn model() -> Model {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 2, 2]);
        let a = sketch.conv("features.0.conv", x, 2, 1, conv());
        let b = sketch.conv("features.1.conv", a, 2, 1, conv());
        let y = sketch.conv("head", b, 2, 1, conv());
        sketch.model(&[y])
    }

    fn layers(texts: &[&str]) -> Vec<LayerTexts> {
        let parse = |text: &&str| LayerTexts::parse(text).unwrap();
        texts.iter().map(parse).collect()
    }

    #[test]
    fn stars_and_question_marks_stand_for_texts_and_characters() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("?b*", "ab", true),
            ("?", "", false),
            ("é?", "éü", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_last_pattern_that_names_a_layer_counts() {
        let texts = Texts {
            precision: Some("w4a8".to_string()),
            rounding: Some("gptq".to_string()),
            layers: layers(&["features.*=w8a8", "*.1.*=w8a16,nearest"]),
            ..Texts::default()
        };
        let options = texts.options(false).unwrap();
        let model = model();
        options.check(&model).unwrap();
        let schemes = model
            .nodes
            .iter()
            .map(|node| options.scheme(node).to_string());
        let schemes: Vec<String> = schemes.collect();
        assert_eq!(schemes, ["w8a8,gptq", "w8a16", "w4a8,gptq"]);
    }

    #[test]
    fn patterns_without_a_node_are_refused_with_names_near_them() {
        let texts = Texts {
            layers: layers(&["feature.0.conv=w4a8", "head=w8a16", "*.2.conv=w4a8"]),
            ..Texts::default()
        };
        let error = texts.options(false).unwrap().check(&model()).unwrap_err();
        let [first, second] = &error.diagnostics[..] else {
            panic!("two are unknown: {error}");
        };
        assert_eq!(first.message, "no node is called `feature.0.conv`");
        assert!(
            first
                .hint
                .as_ref()
                .unwrap()
                .starts_with("near are `features.0.conv`")
        );
        assert_eq!(second.message, "no node is called `*.2.conv`");
    }

    #[test]
    fn a_file_says_what_the_command_line_says() {
        let text = "
            precision = 'w4a8'
            weights = 'per-tensor'
            [[layer]]
            match = 'head'
            precision = 'w8a8'
        ";
        let later = Texts {
            weights: Some("asymmetric".to_string()),
            layers: layers(&["features.*=w2a8"]),
            ..Texts::default()
        };
        let options = Texts::read(text)
            .unwrap()
            .then(later)
            .options(false)
            .unwrap();
        assert_eq!(options.scheme.to_string(), "w4a8,asymmetric");
        let named: Vec<_> = options
            .layers
            .iter()
            .map(|l| (&l.pattern[..], l.scheme.to_string()))
            .collect();
        let expected = [
            ("head", "w8a8,asymmetric"),
            ("features.*", "w2a8,asymmetric"),
        ];
        assert_eq!(named, expected.map(|(p, s)| (p, s.to_string())));
        assert!(Texts::read("precission = 'w4a8'").is_err());
        assert!(
            Texts::read("precision = 'w5a8'")
                .unwrap()
                .options(false)
                .is_err()
        );
    }
}
