//! Which tensors share memory, and where each lies in its region.
//!
//! A tensor either owns a region or is linked to another one: it is a part of it (an operand of a
//! concatenation, a slice), has its place (an element-wise result over an operand that dies), or is the
//! same bytes under another shape. `share` decides that; here the links become places and strides.

use crate::ir::{Elem, Model, TensorId};
use crate::kernel::Scalar;
use crate::lower::Options;
use crate::lower::context::frame;
use crate::lower::layout::{self, same_strides};
use crate::lower::links::Links;
use crate::lower::memory::{Memory, Place, Region};
use crate::ops::Pads;
use crate::target::Target;

/// The memory plan: everything about tensors that kernels must know.
pub(crate) struct Plan {
    /// The caller's inputs, the caller's outputs, then the arena's.
    pub(crate) regions: Vec<Region>,
    /// By tensor; constants have none.
    pub(crate) homes: Vec<Option<Home>>,
    /// By tensor.
    pub(crate) channels_last: Vec<bool>,
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// Its first element.
    pub(crate) place: Place,
    /// Elements from one index to the next, for each axis of the shape.
    pub(crate) strides: Vec<usize>,
    /// The halo that surrounds it.
    pub(crate) halo: Pads,
}

/// Plans the memory of a model.
pub(crate) fn plan(model: &Model, target: &Target, options: &Options) -> Plan {
    let mut links = Links::new(model, target);
    for node in model.nodes.iter().rev() {
        links.forward(node);
    }
    for (position, node) in model.nodes.iter().enumerate() {
        links.backward(position, node);
    }
    links.resolve(options)
}

impl Links<'_> {
    fn resolve(self, options: &Options) -> Plan {
        let model = self.model;
        let mut regions: Vec<_> = model
            .inputs
            .iter()
            .enumerate()
            .map(|(i, id)| self.region(*id, Memory::Input(i), Pads::default()))
            .chain(
                model
                    .outputs
                    .iter()
                    .enumerate()
                    .map(|(i, id)| self.region(*id, Memory::Output(i), Pads::default())),
            )
            .collect();
        let mut owned: Vec<Option<usize>> = vec![None; model.tensors.len()];
        let mut homes = vec![None; model.tensors.len()];
        for id in living(model) {
            let owner = self.owner(id);
            let pads = self.pads(owner);
            let region = match owned[owner.0 as usize] {
                Some(region) => region,
                None => self.choose_region(owner, options, &mut regions),
            };
            owned[owner.0 as usize] = Some(region);
            let (offset, strides) = self.place(id, pads);
            homes[id.0 as usize] = Some(Home {
                place: Place { region, offset },
                strides,
                halo: self.halo(id),
            });
        }
        Plan {
            regions,
            homes,
            channels_last: self.channels_last,
        }
    }

    /// The caller's memory where the owner lies there as kernels want it, else a region of the arena.
    fn choose_region(
        &self,
        owner: TensorId,
        options: &Options,
        regions: &mut Vec<Region>,
    ) -> usize {
        let model = self.model;
        let shape = self.shape(owner);
        let last = self.channels_last[owner.0 as usize];
        let pads = self.pads(owner);
        let strides = layout::dense(shape, last, pads).strides;
        let lies_as = |port_last| {
            let port = layout::dense(shape, port_last, Pads::default());
            pads == Pads::default() && same_strides(shape, &strides, &port.strides)
        };
        let slack = || {
            let mut members = living(model).filter(|id| self.owner(*id) == owner);
            members.any(|id| self.needs[id.0 as usize].slack)
        };
        let input = model.inputs.iter().position(|id| *id == owner);
        let output = model.outputs.iter().position(|id| *id == owner);
        let port_last = input.is_some() && options.channels_last_input && shape.len() == 4;
        let port = input.or(output.map(|i| model.inputs.len() + i));
        if let Some(port) = port
            && lies_as(port_last)
            && !slack()
        {
            return port;
        }
        regions.push(self.region(owner, Memory::Arena, pads));
        regions.len() - 1
    }

    fn region(&self, id: TensorId, memory: Memory, pads: Pads) -> Region {
        let own = layout::dense(self.shape(id), self.channels_last[id.0 as usize], pads);
        Region {
            memory,
            bytes: own.elements * scalar(&self.model[id].ty.elem).bytes(),
            frame: (pads != Pads::default()).then(|| frame(self.shape(id), pads)),
        }
    }
}

/// Inputs and results of nodes.
fn living(model: &Model) -> impl Iterator<Item = TensorId> + '_ {
    let results = model.nodes.iter().map(|n| n.output);
    model.inputs.iter().copied().chain(results)
}

/// The element type in memory: 8 bits hold narrower integers too.
pub(crate) fn scalar(elem: &Elem) -> Scalar {
    match elem {
        Elem::Quantized(params) => match (params.int.bits, params.int.signed) {
            (..=8, true) => Scalar::I8,
            (..=8, false) => Scalar::U8,
            (..=16, true) => Scalar::I16,
            (..=16, false) => Scalar::U16,
            _ => Scalar::I32,
        },
        Elem::Float => Scalar::F32,
        Elem::Int(_) => Scalar::I32,
        Elem::Bool => Scalar::U8,
    }
}
