//! Where the reals of an input lie, as a user states it instead of showing samples.

use std::fmt;
use std::str::FromStr;

use super::number;
use crate::ir::{Elem, Model, Range, TensorId};
use crate::{Error, Result, bail};

/// A stated range: `-1..1` of all inputs of reals, `image=0..255` of one.
#[derive(Clone, Debug, PartialEq)]
pub struct InputRange {
    /// The input's name; `None` for every input of reals that is not named elsewhere.
    pub input: Option<String>,
    /// The smallest range that holds all its reals.
    pub range: Range,
}

impl FromStr for InputRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<InputRange> {
        // Names may hold anything, numbers no equals sign.
        let (input, limits) = match text.rsplit_once('=') {
            Some((name, limits)) => (Some(name.to_string()), limits),
            None => (None, text),
        };
        let Some((min, max)) = limits.split_once("..") else {
            bail!("`{text}` is no range"; hint: "write MIN..MAX or NAME=MIN..MAX: -1..1, image=0..255");
        };
        let range = Range {
            min: number(min)?,
            max: number(max)?,
        };
        if range.min >= range.max {
            bail!("the range `{limits}` is empty"; hint: "write the smaller number first");
        }
        Ok(InputRange { input, range })
    }
}

impl fmt::Display for InputRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.input {
            write!(f, "{name}=")?;
        }
        write!(f, "{}..{}", self.range.min, self.range.max)
    }
}

/// Sets the ranges of a model's inputs; a named range goes before one of all inputs.
pub fn state_ranges(model: &mut Model, ranges: &[InputRange]) -> Result<()> {
    let (named, all): (Vec<_>, Vec<_>) = ranges.iter().partition(|r| r.input.is_some());
    if all.len() > 1 {
        bail!("the range of all inputs is stated twice");
    }
    let mut stated: Vec<TensorId> = vec![];
    for InputRange { input, range } in named {
        let id = named_input(model, input.as_deref().unwrap_or_default())?;
        if stated.contains(&id) {
            bail!("the range of input `{}` is stated twice", model[id].name);
        }
        model[id].range = Some(*range);
        stated.push(id);
    }
    if let [InputRange { range, .. }] = all[..] {
        let real = |id: &TensorId| model[*id].ty.elem == Elem::Float;
        let inputs: Vec<_> = model.inputs.iter().copied().filter(real).collect();
        if inputs.is_empty() {
            bail!("a range is stated, and no input takes reals"; hint: "leave the range out");
        }
        for id in inputs.into_iter().filter(|id| !stated.contains(id)) {
            model[id].range = Some(*range);
        }
    }
    Ok(())
}

fn named_input(model: &Model, name: &str) -> Result<TensorId> {
    let found = model.inputs.iter().find(|id| model[**id].name == name);
    let Some(id) = found.copied() else {
        let names: Vec<_> = model
            .inputs
            .iter()
            .map(|id| model[*id].name.as_str())
            .collect();
        bail!("a range is stated for `{name}`, which is no input"; hint: "there are {}", names.join(", "));
    };
    if model[id].ty.elem != Elem::Float {
        bail!("a range is stated for input `{name}`, which takes integers"; hint: "leave it out");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{IntType, Type};

    fn model() -> Model {
        let mut model = Model::new("test");
        let ids = Type {
            shape: vec![1],
            elem: Elem::Int(IntType::I64),
        };
        for (name, ty) in [
            ("a", Type::float([1])),
            ("b=1", Type::float([1])),
            ("ids", ids),
        ] {
            let id = model.add_tensor(name, ty, None);
            model.inputs.push(id);
        }
        model
    }

    /// The smallest and largest number of an input, where they are known.
    type Limits = Option<(f32, f32)>;

    fn stated(texts: &[&str]) -> Result<Vec<Limits>> {
        let ranges: Result<Vec<InputRange>> = texts.iter().map(|t| t.parse()).collect();
        let mut model = model();
        state_ranges(&mut model, &ranges?)?;
        let ranges = model.inputs.iter().map(|id| model[*id].range);
        Ok(ranges.map(|r| r.map(|r| (r.min, r.max))).collect())
    }

    #[test]
    fn a_named_range_goes_before_one_of_all() {
        let cases: [(&[&str], [Limits; 2]); 4] = [
            (&[], [None, None]),
            (&["-1..1"], [Some((-1.0, 1.0)); 2]),
            (&["b=1=-.5...5"], [None, Some((-0.5, 0.5))]),
            (
                &["a=0..255", " -1/2 .. 1e2"],
                [Some((0.0, 255.0)), Some((-0.5, 100.0))],
            ),
        ];
        for (texts, expected) in cases {
            let found = stated(texts).unwrap();
            assert_eq!(found[..2], expected, "{texts:?}");
            assert_eq!(found[2], None, "integers have no range: {texts:?}");
        }
    }

    #[test]
    fn wrong_ranges_are_refused() {
        let cases: [(&[&str], &str); 9] = [
            (&["1"], "`1` is no range"),
            (&["0..x"], "`x` is not a number"),
            (&["0..inf"], "`inf` is not a number"),
            (&["1..-1"], "the range `1..-1` is empty"),
            (&["a=2..2"], "the range `2..2` is empty"),
            (&["0..1", "0..2"], "the range of all inputs is stated twice"),
            (
                &["a=0..1", "a=0..2"],
                "the range of input `a` is stated twice",
            ),
            (&["c=0..1"], "a range is stated for `c`, which is no input"),
            (
                &["ids=0..1"],
                "a range is stated for input `ids`, which takes integers",
            ),
        ];
        for (texts, message) in cases {
            let error = stated(texts).unwrap_err();
            assert_eq!(error.diagnostics[0].message, message, "{texts:?}");
        }
        let hint = stated(&["c=0..1"]).unwrap_err().diagnostics[0].hint.clone();
        assert_eq!(hint.as_deref(), Some("there are a, b=1, ids"));
    }
}
