//! What calibration learned, as a file: so that compiling again, for another machine, needs no samples.
//!
//! JSON of one line a tensor. Numbers are written so that reading them gives the same bits.

use serde::{Deserialize, Serialize};

use crate::ir::{Channel, Model, Range, Tensor};
use crate::{Error, Result, bail};

/// Of the meaning of the file's contents.
const VERSION: u32 = 1;

/// Ranges and channels of a network's tensors, and which network that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranges {
    version: u32,
    network: String,
    /// Of graph and weights, in hexadecimal.
    fingerprint: String,
    /// How the ranges were found, as on the command line.
    pub calibration: String,
    tensors: Vec<Entry>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    name: String,
    min: f32,
    max: f32,
    /// Smallest and largest number, mean and mean square of each channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    channels: Vec<[f32; 4]>,
}

impl Ranges {
    /// What a calibrated model of reals is annotated with. `calibration` says how it came to be.
    pub fn of(model: &Model, calibration: &str) -> Ranges {
        let entry = |tensor: &Tensor| {
            let Range { min, max } = tensor.range?;
            let channel = |c: &Channel| [c.range.min, c.range.max, c.mean, c.power];
            Some(Entry {
                name: tensor.name.clone(),
                min,
                max,
                channels: tensor.channels.iter().map(channel).collect(),
            })
        };
        Ranges {
            version: VERSION,
            network: model.name.clone(),
            fingerprint: fingerprint(model),
            calibration: calibration.to_string(),
            tensors: model.tensors.iter().filter_map(entry).collect(),
        }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let json = |text: &str| serde_json::to_string(text).expect("a text is JSON");
        let tensor = |entry| serde_json::to_string(entry).expect("ranges are finite");
        let tensors: Vec<String> = self.tensors.iter().map(tensor).collect();
        format!(
            "{{\n\"version\": {},\n\"network\": {},\n\"fingerprint\": {},\n\"calibration\": {},\n\
             \"tensors\": [\n{}\n]\n}}\n",
            self.version,
            json(&self.network),
            json(&self.fingerprint),
            json(&self.calibration),
            tensors.join(",\n")
        )
    }

    /// Reads a file's text.
    pub fn read(text: &str) -> Result<Ranges> {
        let ranges: Ranges = serde_json::from_str(text).map_err(|e| {
            Error::new(format!("the ranges cannot be read: {e}"))
                .hint("write the file with qcc calibrate")
        })?;
        if ranges.version != VERSION {
            bail!(
                "the ranges have version {}, this qcc reads version {VERSION}", ranges.version;
                hint: "write the file again with qcc calibrate"
            );
        }
        Ok(ranges)
    }

    /// Annotates the model that the ranges were made for, as its calibration did.
    pub fn annotate(&self, model: &mut Model) -> Result<()> {
        if self.fingerprint != fingerprint(model) {
            bail!(
                "the ranges belong to another network, or to another version of `{}`", self.network;
                hint: "graph, weights and fixed dimensions must be those that qcc calibrate saw"
            );
        }
        for tensor in &mut model.tensors {
            tensor.range = None;
            tensor.channels = vec![];
        }
        for entry in &self.tensors {
            let Some(tensor) = model.tensors.iter_mut().find(|t| t.name == entry.name) else {
                bail!(
                    "the ranges name a tensor `{}` that the network does not have",
                    entry.name
                );
            };
            let Entry { min, max, .. } = *entry;
            tensor.range = Some(Range { min, max });
            let channel = |[min, max, mean, power]: &[f32; 4]| Channel {
                range: Range {
                    min: *min,
                    max: *max,
                },
                mean: *mean,
                power: *power,
            };
            tensor.channels = entry.channels.iter().map(channel).collect();
        }
        Ok(())
    }
}

/// A number for graph, types and constants of a model: FNV-1a of 64 bits.
fn fingerprint(model: &Model) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: String| {
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for tensor in &model.tensors {
        add(format!("{} {:?};", tensor.name, tensor.ty));
        if let Some(array) = &tensor.value {
            add(format!("{:?};", array.data));
        }
    }
    for node in &model.nodes {
        add(format!("{:?};", (&node.op, &node.inputs, node.output)));
    }
    add(format!("{:?}", (&model.inputs, &model.outputs)));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::TensorId;
    use crate::passes::calibrate::{Calibration, Method};
    use crate::passes::testing::{Sketch, conv, inputs};

    fn model() -> (Model, TensorId) {
        let mut sketch = Sketch::new();
        let x = sketch.input("x", &[1, 2, 3, 3]);
        let a = sketch.conv("a \"quoted\"", x, 3, 1, conv());
        let y = sketch.conv("y", a, 2, 1, conv());
        (sketch.model(&[y]), a)
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let (bare, a) = model();
        let mut calibrated = bare.clone();
        let mut calibration = Calibration::new(&bare, Method::MinMax);
        calibration.observe(&bare, &inputs(&bare, 5)).unwrap();
        calibration.finish(&mut calibrated).unwrap();
        // Numbers that a decimal fraction of few digits does not give back.
        calibrated[a].range = Some(Range {
            min: -f32::MIN_POSITIVE / 3.0,
            max: 16_777_217.0_f32.next_up(),
        });
        let written = Ranges::of(&calibrated, " --calibrate x.npz");
        let read = Ranges::read(&written.text()).unwrap();
        assert_eq!(read, written);
        let mut annotated = bare;
        read.annotate(&mut annotated).unwrap();
        for (a, b) in annotated.tensors.iter().zip(&calibrated.tensors) {
            assert_eq!((a.range, &a.channels), (b.range, &b.channels), "{}", a.name);
        }
    }

    #[test]
    fn other_networks_and_versions_are_refused() {
        let (model, _) = model();
        let ranges = Ranges::of(&model, "");
        let message = |result: Result<()>| result.unwrap_err().diagnostics[0].message.clone();
        let mut other = model.clone();
        let weights = other.nodes[0].inputs[1].unwrap();
        let array = other[weights].value.as_mut().unwrap();
        *array = crate::ir::Array::f32(array.shape.clone(), vec![0.5; array.len()]);
        assert_eq!(
            message(ranges.annotate(&mut other)),
            "the ranges belong to another network, or to another version of `sketch`"
        );
        let later = ranges.text().replacen("1", "2", 1);
        assert_eq!(
            message(Ranges::read(&later).map(|_| ())),
            "the ranges have version 2, this qcc reads version 1"
        );
        assert!(message(Ranges::read("{}").map(|_| ())).starts_with("the ranges cannot be read"));
    }
}
