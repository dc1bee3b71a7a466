//! One source of samples: arrays or images, brought to the shapes of a model's inputs.

use std::path::Path;

use super::fit::{self, Fit};
use super::images::{self, Labelled};
use super::numpy::{self, Numbers, Stream};
use super::{Options, Preprocess, Sample};
use crate::ir::{Array, Elem, Model, Tensor};
use crate::{Error, Result, bail};

/// Samples of one file or folder.
pub(super) struct Source {
    inputs: Inputs,
    labels: Option<Stream>,
    label_offset: i64,
    preprocess: Preprocess,
    /// How many samples an evaluation takes.
    batch: usize,
    left: usize,
}

enum Inputs {
    Arrays(Vec<Feed>),
    Images {
        files: std::vec::IntoIter<Labelled>,
        target: Target,
        /// The input's height, width and channels.
        size: [usize; 3],
        fit: Fit,
    },
}

/// An array and the input that it feeds.
struct Feed {
    stream: Stream,
    target: Target,
    fit: Fit,
    /// Number of channels and their distance in the stored sample.
    channels: (usize, usize),
}

/// An input of the model.
struct Target {
    name: String,
    shape: Vec<usize>,
    real: bool,
}

/// How many samples an evaluation takes, as the shapes of the inputs have it: their first extent.
fn batch(model: &Model) -> usize {
    let first = |t: &Tensor| t.ty.shape.first().copied();
    let mut extents = model.inputs.iter().map(|id| first(&model[*id]));
    match extents.next().flatten() {
        Some(n) if n > 0 && extents.all(|e| e == Some(n)) => n,
        _ => 1,
    }
}

/// Whether the samples of a file are whole inputs of a model whose first axis counts no samples: each input has an
/// array with one axis more in front.
fn whole(streams: &[Stream], model: &Model) -> bool {
    let mut shapes = model.inputs.iter().map(|id| &model[*id].ty.shape);
    shapes.all(|shape| {
        let fits = |s: &Stream| s.is_samples() && s.shape[1..] == shape[..];
        streams.iter().any(fits)
    })
}

impl Target {
    fn of(tensor: &Tensor) -> Target {
        Target {
            name: tensor.name.clone(),
            shape: tensor.ty.shape.clone(),
            real: !matches!(tensor.ty.elem, Elem::Int(_) | Elem::Bool),
        }
    }

    /// The shape of one sample.
    fn sample(&self, batch: usize) -> Vec<usize> {
        match self.shape.split_first() {
            Some((first, rest)) if *first == batch => rest.to_vec(),
            _ => self.shape.clone(),
        }
    }
}

impl Source {
    /// Opens a file or folder.
    pub(super) fn open(path: &Path, model: &Model, options: &Options) -> Result<Source> {
        if !path.exists() {
            bail!("{}: no such file or folder", path.display());
        }
        let mut source = if path.is_dir() {
            Source::images(path, model, options)
        } else {
            Source::arrays(path, model, options)
        }
        .map_err(|e| e.at(&path.display().to_string()))?;
        source.left = source.left.min(options.limit.unwrap_or(usize::MAX));
        Ok(source)
    }

    fn images(path: &Path, model: &Model, options: &Options) -> Result<Source> {
        let [input] = model.inputs[..] else {
            bail!("images feed one input, the model has {}", model.inputs.len(); hint: "pass a .npz file");
        };
        if !options.preprocess.stated {
            bail!(
                "how pixels become the model's input is not known";
                hint: "pass --preset imagenet, tf, unit or raw, or --scale, --mean and --std"
            );
        }
        let target = Target::of(&model[input]);
        let batch = batch(model);
        let size = image_size(&target, batch)?;
        let shape = target.sample(batch);
        let fit = Fit::find(&size, &shape, None).expect("the size is made from the shape");
        fit::channels(&size, &image_order(&options.preprocess))?;
        let files = images::list(path)?;
        Ok(Source {
            left: files.len(),
            inputs: Inputs::Images {
                files: files.into_iter(),
                target,
                size,
                fit,
            },
            labels: None,
            label_offset: options.label_offset,
            preprocess: image_order(&options.preprocess),
            batch,
        })
    }

    fn arrays(path: &Path, model: &Model, options: &Options) -> Result<Source> {
        if options.preprocess.resize.is_some() {
            bail!("only images can be resized"; hint: "leave --resize out, or pass a folder of images");
        }
        let mut streams = numpy::open(path)?;
        let labels = take_labels(&mut streams, model, options)?;
        let batch = match whole(&streams, model) {
            true => 1,
            false => batch(model),
        };
        let mut feeds = vec![];
        for id in &model.inputs {
            let target = Target::of(&model[*id]);
            feeds.push(Feed::find(
                &mut streams,
                target,
                model.inputs.len(),
                batch,
                options,
            )?);
        }
        let Some(left) = feeds.first().map(|f| f.stream.shape[0]) else {
            bail!("the model has no inputs");
        };
        let counted = feeds.iter().map(|f| &f.stream).chain(&labels);
        if let Some(other) = counted.into_iter().find(|s| s.shape[0] != left) {
            bail!(
                "array `{}` holds {left} samples and `{}` {}",
                feeds[0].stream.name,
                other.name,
                other.shape[0]
            );
        }
        Ok(Source {
            inputs: Inputs::Arrays(feeds),
            labels,
            label_offset: options.label_offset,
            preprocess: options.preprocess.clone(),
            batch,
            left,
        })
    }

    /// How many evaluations are left.
    pub(super) fn evaluations(&self) -> usize {
        self.left.div_ceil(self.batch)
    }

    /// How many samples are left.
    pub(super) fn len(&self) -> usize {
        self.left
    }

    /// Whether samples carry labels.
    pub(super) fn labelled(&self) -> bool {
        match &self.inputs {
            Inputs::Arrays(_) => self.labels.is_some(),
            Inputs::Images { files, .. } => files.as_slice().iter().all(|(_, l)| l.is_some()),
        }
    }

    /// The next evaluation's inputs; the last sample is repeated where the batch is not full.
    pub(super) fn next_batch(&mut self) -> Result<Sample> {
        let batch = self.batch;
        let count = batch.min(self.left);
        let (mut gathered, mut labels) = (vec![], vec![]);
        for _ in 0..count {
            let (inputs, label) = self.next_one()?;
            gathered.push(inputs);
            labels.extend(label.map(|l| l + self.label_offset));
        }
        self.left -= count;
        while gathered.len() < batch {
            gathered.push(gathered[count - 1].clone());
        }
        let targets: Vec<_> = match &self.inputs {
            Inputs::Arrays(feeds) => feeds.iter().map(|f| &f.target).collect(),
            Inputs::Images { target, .. } => vec![target],
        };
        let inputs = targets
            .iter()
            .enumerate()
            .map(|(i, target)| target.array(gathered.iter_mut().map(|g| std::mem::take(&mut g[i]))))
            .collect();
        Ok(Sample { inputs, labels })
    }

    fn next_one(&mut self) -> Result<(Vec<Numbers>, Option<i64>)> {
        let label = match &mut self.labels {
            Some(stream) => Some(stream.next()?.single()?),
            None => None,
        };
        match &mut self.inputs {
            Inputs::Arrays(feeds) => {
                let inputs = feeds.iter_mut().map(|f| f.next(&self.preprocess));
                Ok((inputs.collect::<Result<_>>()?, label))
            }
            Inputs::Images {
                files, size, fit, ..
            } => {
                let (file, label) = files.next().expect("`left` counts the files");
                let [height, width, channels] = *size;
                let wanted = (width as u32, height as u32);
                let bytes = images::decode(&file, channels, wanted, self.preprocess.resize)?;
                let mut pixels: Vec<f32> = bytes.into_iter().map(f32::from).collect();
                self.preprocess.apply(&mut pixels, channels, 1);
                Ok((vec![Numbers::Reals(fit.apply(pixels, size))], label))
            }
        }
    }
}

/// Decoded images have their channels last, whatever the layout that was asked for.
fn image_order(preprocess: &Preprocess) -> Preprocess {
    Preprocess {
        layout: Some(super::Layout::Nhwc),
        ..preprocess.clone()
    }
}

/// Height, width and channels of an input that takes images.
fn image_size(target: &Target, batch: usize) -> Result<[usize; 3]> {
    match target.sample(batch)[..] {
        [c @ (1 | 3), h, w] => Ok([h, w, c]),
        [h, w, c @ (1 | 3)] => Ok([h, w, c]),
        [h, w] => Ok([h, w, 1]),
        _ => bail!(
            "input `{}` of shape {:?} does not take images of one or three channels", target.name, target.shape;
            hint: "pass a .npz file"
        ),
    }
}

/// The array of labels, if there is one: that of the name that was given, or one of a usual name that no
/// input lays claim to and that looks like labels.
fn take_labels(
    streams: &mut Vec<Stream>,
    model: &Model,
    options: &Options,
) -> Result<Option<Stream>> {
    let fits = |s: &Stream| s.is_samples() && s.shape[1..].iter().all(|n| *n == 1);
    let called = |name: &str| streams.iter().position(|s| s.name == name);
    if let Some(name) = &options.labels {
        let Some(found) = called(name) else {
            bail!("no array of labels `{name}`; there are {}", names(streams));
        };
        let labels = streams.remove(found);
        if !fits(&labels) {
            bail!(
                "labels `{name}` of shape {:?} are not one integer a sample",
                labels.shape
            );
        }
        return Ok(Some(labels));
    }
    let claimed = |name: &str| {
        model.inputs.iter().any(|id| model[*id].name == name)
            || options.arrays.values().any(|array| array == name)
    };
    let usual = ["labels", "label", "y"];
    let mut found = usual
        .iter()
        .filter(|n| !claimed(n))
        .filter_map(|n| called(n));
    let found = found.find(|i| fits(&streams[*i]));
    Ok(found.map(|i| streams.remove(i)))
}

fn names(streams: &[Stream]) -> String {
    let names = streams
        .iter()
        .map(|s| format!("`{}` {:?}", s.name, s.shape));
    names.collect::<Vec<_>>().join(", ")
}

impl Feed {
    /// Takes the array that feeds an input out of those of a file.
    fn find(
        streams: &mut Vec<Stream>,
        target: Target,
        inputs: usize,
        batch: usize,
        options: &Options,
    ) -> Result<Feed> {
        let shape = target.sample(batch);
        let layout = options.preprocess.layout;
        let fit_of = |s: &Stream| match s.is_samples() {
            true => Fit::find(&s.shape[1..], &shape, layout),
            false => None,
        };
        let index = Feed::choose(streams, &target, inputs, options, |s| fit_of(s).is_some())?;
        let stream = streams.remove(index);
        let Some(fit) = fit_of(&stream) else {
            bail!(
                "array `{}` of shape {:?} does not fit input `{}`, which takes samples {shape:?}",
                stream.name, stream.shape, target.name;
                hint: "store numbers with the samples along the first axis; the rest must be the input's shape, \
                       flat, or differ in where the channels are"
            );
        };
        let channels = fit::channels(&stream.shape[1..], &options.preprocess)?;
        Ok(Feed {
            stream,
            target,
            fit,
            channels,
        })
    }

    fn choose(
        streams: &[Stream],
        target: &Target,
        inputs: usize,
        options: &Options,
        fits: impl Fn(&Stream) -> bool,
    ) -> Result<usize> {
        let called = |name: &str| streams.iter().position(|s| s.name == name);
        let asked = options.arrays.get(&target.name);
        if let Some(name) = asked.or_else(|| options.arrays.get("").filter(|_| inputs == 1)) {
            return called(name).ok_or_else(|| {
                Error::new(format!("no array `{name}`; there are {}", names(streams)))
            });
        }
        if let Some(index) = called(&target.name) {
            return Ok(index);
        }
        let fitting: Vec<_> = (0..streams.len()).filter(|i| fits(&streams[*i])).collect();
        match fitting[..] {
            _ if inputs > 1 => {}
            [only] => return Ok(only),
            _ => {
                if let Some(x) = called("x").or((streams.len() == 1).then_some(0)) {
                    return Ok(x);
                }
            }
        }
        bail!(
            "no array for input `{}` {:?}; there are {}", target.name, target.shape, names(streams);
            hint: "call the array `{}`, or choose one with --array {}=NAME", target.name, target.name
        )
    }

    fn next(&mut self, preprocess: &Preprocess) -> Result<Numbers> {
        let numbers = self.stream.next()?;
        let stored = &self.stream.shape[1..];
        Ok(match (numbers, self.target.real) {
            (Numbers::Integers(ints), false) => Numbers::Integers(self.fit.apply(ints, stored)),
            (Numbers::Reals(_), false) => bail!(
                "input `{}` takes integers, array `{}` holds reals",
                self.target.name,
                self.stream.name
            ),
            (numbers, true) => {
                let mut reals = numbers.reals();
                preprocess.apply(&mut reals, self.channels.0, self.channels.1);
                Numbers::Reals(self.fit.apply(reals, stored))
            }
        })
    }
}

impl Target {
    /// The samples of a batch, one after the other.
    fn array(&self, samples: impl Iterator<Item = Numbers>) -> Array {
        let (mut reals, mut ints) = (vec![], vec![]);
        for numbers in samples {
            match numbers {
                Numbers::Reals(v) => reals.extend(v),
                Numbers::Integers(v) => ints.extend(v),
            }
        }
        if self.real {
            Array::f32(self.shape.clone(), reals)
        } else {
            Array::i64(self.shape.clone(), ints)
        }
    }
}
