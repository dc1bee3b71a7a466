//! What lowering a node works with: where operands lie, and how kernels and constants enter the program.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::{Data, Elem, Model, QuantParams, TensorId};
use crate::kernel::{Constant, Kernel, Scalar, identifier};
use crate::kernels::View;
use crate::kernels::copy::{self, Frame};
use crate::lower::layout;
use crate::lower::memory::{Memory, Place, Region};
use crate::lower::movement::unsigned;
use crate::lower::plan::{self, Home, Plan};
use crate::ops::{Op, Pads};
use crate::target::Target;

/// A program under construction.
pub struct Lowering<'a> {
    /// What is lowered.
    pub model: &'a Model,
    /// For which machine.
    pub target: &'a Target,
    pub(super) plan: Plan,
    /// By region, what its halo holds at this point of the program.
    halos: BTreeMap<usize, i32>,
    layer: String,
    names: BTreeSet<String>,
    pub(super) kernels: Vec<Kernel>,
    pub(super) constants: Vec<Constant>,
    pub(super) calls: Vec<PlacedCall>,
}

/// A call before addresses are known.
pub(super) struct PlacedCall {
    pub(super) layer: String,
    pub(super) kernel: usize,
    pub(super) args: Vec<Place>,
    pub(super) macs: u64,
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(model: &'a Model, target: &'a Target, plan: Plan) -> Lowering<'a> {
        Lowering {
            model,
            target,
            plan,
            halos: BTreeMap::new(),
            layer: String::new(),
            names: BTreeSet::new(),
            kernels: vec![],
            constants: vec![],
            calls: vec![],
        }
    }

    /// The calls that follow belong to this layer.
    pub(crate) fn enter(&mut self, layer: &str) {
        self.layer = layer.to_string();
    }

    /// Shape of a tensor, as in ONNX.
    pub fn shape(&self, id: TensorId) -> &'a [usize] {
        &self.model[id].ty.shape
    }

    /// How a tensor's integers stand for reals.
    pub fn params(&self, id: TensorId) -> &'a QuantParams {
        match &self.model[id].ty.elem {
            Elem::Quantized(params) => params,
            _ => panic!("`{}` is quantized, as was checked", self.model[id].name),
        }
    }

    /// Scale and zero point of an activation.
    pub fn quant(&self, id: TensorId) -> (f32, i32) {
        self.params(id).uniform()
    }

    /// Smallest and largest integer that a tensor can hold: its limits, but of 8 bits all that the type holds where
    /// a caller's integers arrive as they are, which nothing keeps within the limits.
    pub fn reached(&self, id: TensorId) -> (i32, i32) {
        let params = self.params(id);
        let limits = (params.low, params.high);
        if params.int.bits > 8 {
            return limits;
        }
        if self.model.inputs.contains(&id) {
            return (params.int.min() as i32, params.int.max() as i32);
        }
        let producer = self.model.producer(id).map(|i| &self.model.nodes[i]);
        let moved = producer.filter(|node| node.op.moves() || matches!(node.op, Op::Concat(_)));
        let sources = moved.iter().flat_map(|node| node.operands());
        let sources = sources.filter(|source| self.model[*source].value.is_none());
        let quantized = sources.filter(|s| matches!(self.model[*s].ty.elem, Elem::Quantized(_)));
        let as_they_are = quantized.filter(|source| self.params(*source) == params);
        as_they_are.fold(limits, |(low, high), source| {
            let reached = self.reached(source);
            (low.min(reached.0), high.max(reached.1))
        })
    }

    /// Element type of a tensor in memory.
    pub fn scalar(&self, id: TensorId) -> Scalar {
        plan::scalar(&self.model[id].ty.elem)
    }

    /// Whether an image lies channels last.
    pub fn channels_last(&self, id: TensorId) -> bool {
        self.plan.channels_last[id.0 as usize]
    }

    fn home(&self, id: TensorId) -> &Home {
        let home = self.plan.homes[id.0 as usize].as_ref();
        home.expect("operands are computed or given; constants are the builder's")
    }

    /// First element of a tensor that is no constant, and its strides along the axes of its shape.
    pub fn strided(&self, id: TensorId) -> (Place, Vec<usize>) {
        let home = self.home(id);
        (home.place, home.strides.clone())
    }

    /// A tensor that is no constant, as kernels see it: axes in the order of memory (`[N, H, W, C]` of an
    /// image that lies channels last, else the shape's), extents 1 in front; leading axes of a tensor of
    /// more than four are one. Strides may leave gaps (halo, neighbours in a concatenation).
    pub fn view(&self, id: TensorId) -> (Place, View) {
        let (place, strides) = self.strided(id);
        let view = view(self.shape(id), &strides, self.channels_last(id));
        (place, view)
    }

    /// A real as a tensor's memory holds it: its integer, or its bits.
    pub fn stored(&self, id: TensorId, real: f32) -> i32 {
        match &self.model[id].ty.elem {
            Elem::Quantized(params) => params.quantize(real),
            _ => real.to_bits() as i32,
        }
    }

    /// What a tensor's memory holds, for comments.
    pub(crate) fn described(&self, id: TensorId, stored: i32) -> String {
        described(self.scalar(id), stored)
    }

    /// An image with `pads` around it that hold its zero point: the view starts at the padded corner and
    /// counts the halo in its extents. Copied only if its memory has no such halo.
    pub fn padded_view(&mut self, id: TensorId, pads: Pads) -> (Place, View) {
        self.padded_view_with(id, pads, self.stored(id, 0.0))
    }

    /// [`Lowering::padded_view`] with something else in the halo.
    pub fn padded_view_with(&mut self, id: TensorId, pads: Pads, fill: i32) -> (Place, View) {
        let Home {
            place,
            strides,
            halo,
        } = self.home(id).clone();
        let (place, strides) = if pads == Pads::default() {
            (place, strides)
        } else if holds(halo, pads) {
            self.fill_halo(place.region, self.scalar(id), fill);
            let corner = pads.top * strides[2] + pads.left * strides[3];
            let offset = place.offset - corner;
            (Place { offset, ..place }, strides)
        } else {
            self.padded_copy(id, pads, fill)
        };
        let shape = self.shape(id);
        let extent = [
            shape[0],
            shape[1],
            shape[2] + pads.top + pads.bottom,
            shape[3] + pads.left + pads.right,
        ];
        (place, view(&extent, &strides, true))
    }

    /// Whether kernels must not read past the last element: it may be the end of a caller's buffer.
    pub fn ends_exactly(&self, id: TensorId) -> bool {
        let region = self.home(id).place.region;
        self.plan.regions[region].memory != Memory::Arena
    }

    pub(crate) fn memory(&self, place: Place) -> Memory {
        self.plan.regions[place.region].memory
    }

    /// The integers of a constant as bytes in row-major order.
    pub(crate) fn bytes(&self, id: TensorId) -> Vec<u8> {
        let bytes = self.scalar(id).bytes();
        let value = self.model[id].value.as_ref().expect("a constant");
        let little = |x: i64| x.to_le_bytes().into_iter().take(bytes);
        match &value.data {
            Data::I32(v) => v.iter().flat_map(|x| little(i64::from(*x))).collect(),
            Data::I64(v) => v.iter().flat_map(|x| little(*x)).collect(),
            Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// Scratch memory for this layer.
    pub fn scratch(&mut self, scalar: Scalar, elements: usize) -> Place {
        self.plan.regions.push(Region {
            memory: Memory::Arena,
            bytes: elements * scalar.bytes(),
            frame: None,
        });
        Place {
            region: self.plan.regions.len() - 1,
            offset: 0,
        }
    }

    /// An identifier of the program that nothing else has: the layer's name and what the thing is.
    pub fn name(&mut self, what: &str) -> String {
        let layer = identifier(&self.layer, "layer");
        let wanted = if layer.to_lowercase().ends_with(what) {
            layer
        } else {
            format!("{layer}_{what}")
        };
        let mut name = wanted.clone();
        for i in 2.. {
            if self.names.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}_{i}");
        }
        name
    }

    /// Adds a constant and returns its name; `what` describes it (`weights`, `table`). Equal constants
    /// are one.
    pub fn constant(&mut self, what: &str, elem: Scalar, bytes: Vec<u8>) -> String {
        let equal = |c: &&Constant| c.elem == elem && c.bytes == bytes;
        if let Some(known) = self.constants.iter().find(equal) {
            return known.name.clone();
        }
        let name = self.name(what);
        self.constants.push(Constant {
            name: name.clone(),
            elem,
            bytes,
        });
        name
    }

    /// Calls a kernel, which should be named by [`Lowering::name`]. Kernels that differ in name and comment
    /// only are one. `args` are the kernel's buffers; in place, a kernel has one buffer for both.
    pub fn call(&mut self, kernel: Kernel, args: &[Place], macs: u64) {
        assert_eq!(kernel.buffers.len(), args.len(), "one place a buffer");
        let equal = |k: &Kernel| {
            k.body == kernel.body && k.buffers == kernel.buffers && k.constants == kernel.constants
        };
        let index = self.kernels.iter().position(equal).unwrap_or_else(|| {
            self.kernels.push(kernel);
            self.kernels.len() - 1
        });
        self.calls.push(PlacedCall {
            layer: self.layer.clone(),
            kernel: index,
            args: args.to_vec(),
            macs,
        });
    }

    /// Copies elements between two stridings of one shape.
    pub(crate) fn copy(
        &mut self,
        scalar: Scalar,
        shape: &[usize],
        from: (Place, &[usize]),
        to: (Place, &[usize]),
    ) {
        let name = self.name("copy");
        let mut kernel = copy::copy(&name, scalar, shape, from.1, to.1, self.target);
        kernel.comment = vec![format!(
            "Copy of {shape:?}, strides {:?} to {:?}.",
            from.1, to.1
        )];
        self.call(kernel, &[from.0, to.0], 0);
    }

    /// A copy of an image with a halo, channels last in memory of its own; strides along the axes of its shape.
    pub(crate) fn padded_copy(
        &mut self,
        id: TensorId,
        pads: Pads,
        fill: i32,
    ) -> (Place, Vec<usize>) {
        let (shape, scalar) = (self.shape(id), self.scalar(id));
        let padded = layout::dense(shape, true, pads);
        let corner = self.scratch(scalar, padded.elements);
        self.plan.regions[corner.region].frame = Some(frame(shape, pads));
        let (from, strides) = self.strided(id);
        let inside = corner.plus(padded.offset);
        self.copy(scalar, shape, (from, &strides), (inside, &padded.strides));
        if pads != Pads::default() {
            self.fill_halo(corner.region, scalar, fill);
        }
        (corner, padded.strides)
    }

    /// Makes a region's halo hold `value`.
    fn fill_halo(&mut self, region: usize, scalar: Scalar, value: i32) {
        if self.halos.insert(region, value) == Some(value) {
            return;
        }
        let frame = self.plan.regions[region].frame;
        let frame = frame.expect("regions with a halo have a frame");
        let name = self.name("halo");
        let mut kernel = copy::fill_halo(&name, unsigned(scalar), &frame, value, self.target);
        let Pads {
            top,
            left,
            bottom,
            right,
        } = frame.pads;
        kernel.comment = vec![format!(
            "Halo of {:?}: {top} above, {left} before, {bottom} below, {right} after, filled with {}.",
            frame.extent,
            described(scalar, value)
        )];
        self.call(kernel, &[Place { region, offset: 0 }], 0);
    }
}

fn described(scalar: Scalar, stored: i32) -> String {
    match scalar {
        Scalar::F32 => f32::from_bits(stored as u32).to_string(),
        _ => stored.to_string(),
    }
}

/// The frame of an image `[N, C, H, W]` in channels-last memory.
pub(crate) fn frame(shape: &[usize], pads: Pads) -> Frame {
    Frame {
        extent: [shape[0], shape[2], shape[3], shape[1]],
        pads,
    }
}

fn holds(halo: Pads, pads: Pads) -> bool {
    super::needs::union(halo, pads) == halo
}

fn view(shape: &[usize], strides: &[usize], channels_last: bool) -> View {
    let order = layout::order(shape.len(), channels_last);
    let mut extent: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
    let mut steps: Vec<usize> = order.iter().map(|axis| strides[*axis]).collect();
    while extent.len() > 4 {
        let leading = extent.remove(0);
        steps.remove(0);
        extent[0] *= leading;
    }
    while extent.len() < 4 {
        let step = extent.first().map_or(1, |e| e * steps[0]);
        extent.insert(0, 1);
        steps.insert(0, step);
    }
    View {
        extent: extent.try_into().expect("four axes"),
        strides: steps.try_into().expect("four axes"),
    }
}
