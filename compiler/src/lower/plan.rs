//! Which tensors share memory, and where each lies in its region.
//!
//! A tensor either owns a region or is linked to another one: it is a part of it (an operand of a
//! concatenation, a slice), has its place (an element-wise result over an operand that dies), or is the
//! same bytes under another shape. Links that lead forward (concatenation, reshape into an output) are
//! found first, from the last node to the first; then those that lead back.

use crate::ir::{Elem, Model, Node, TensorId};
use crate::kernel::Scalar;
use crate::lower::Options;
use crate::lower::context::frame;
use crate::lower::layout::{self, same_strides};
use crate::lower::memory::{Memory, Place, Region};
use crate::lower::needs::{self, Needs};
use crate::ops::{Op, Pads};
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

/// How a tensor's memory relates to another's.
#[derive(Clone, Debug)]
enum Link {
    /// It has a region of its own.
    Owner,
    /// It has the place of a tensor of the same shape.
    Same(TensorId),
    /// Index `i` along each axis is index `starts + i·steps` of another tensor.
    Part {
        of: TensorId,
        starts: Vec<usize>,
        steps: Vec<usize>,
    },
    /// It is the dense bytes of another tensor under its own shape.
    Bytes(TensorId),
}

/// Facts about a region under construction, kept at its owner.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    pads: Pads,
    /// Some member needs the memory without a halo.
    dense: bool,
    /// The last node that reads a member.
    last_use: usize,
}

struct Links<'a> {
    model: &'a Model,
    needs: Vec<Needs>,
    channels_last: Vec<bool>,
    links: Vec<Link>,
    groups: Vec<Group>,
}

impl<'a> Links<'a> {
    fn new(model: &'a Model, target: &Target) -> Links<'a> {
        let needs = needs::of_tensors(model, target);
        let channels_last = layout::channels_last(model);
        let mut groups = vec![Group::default(); model.tensors.len()];
        for (i, group) in groups.iter_mut().enumerate() {
            group.pads = needs[i].pads;
        }
        for (position, node) in model.nodes.iter().enumerate() {
            for id in node.operands() {
                groups[id.0 as usize].last_use = position;
            }
        }
        for id in &model.outputs {
            groups[id.0 as usize].last_use = usize::MAX;
        }
        Links {
            model,
            needs,
            channels_last,
            links: vec![Link::Owner; model.tensors.len()],
            groups,
        }
    }

    fn owner(&self, id: TensorId) -> TensorId {
        match &self.links[id.0 as usize] {
            Link::Owner => id,
            Link::Same(of) | Link::Part { of, .. } | Link::Bytes(of) => self.owner(*of),
        }
    }

    fn group(&mut self, id: TensorId) -> &mut Group {
        let owner = self.owner(id);
        &mut self.groups[owner.0 as usize]
    }

    fn shape(&self, id: TensorId) -> &'a [usize] {
        &self.model[id].ty.shape
    }

    fn is_owner(&self, id: TensorId) -> bool {
        matches!(self.links[id.0 as usize], Link::Owner)
    }

    /// Whether a node writes the tensor, so that its place can be chosen.
    fn is_computed(&self, id: TensorId) -> bool {
        self.model[id].value.is_none() && !self.model.inputs.contains(&id)
    }

    fn is_output(&self, id: TensorId) -> bool {
        self.model.outputs.contains(&id)
    }

    fn pads(&self, id: TensorId) -> Pads {
        self.groups[self.owner(id).0 as usize].pads
    }

    fn link(&mut self, id: TensorId, link: Link) {
        let joining = self.groups[id.0 as usize];
        self.links[id.0 as usize] = link;
        let group = self.group(id);
        group.pads = needs::union(group.pads, joining.pads);
        group.dense |= joining.dense;
        group.last_use = group.last_use.max(joining.last_use);
    }

    /// Links operands of a node to its result.
    fn forward(&mut self, node: &Node) {
        match &node.op {
            Op::Concat(op) => {
                let mut start = 0;
                for id in node.operands() {
                    self.concatenate(id, node.output, op.axis, start);
                    start += self.shape(id)[op.axis];
                }
            }
            Op::Reshape(_) | Op::Transpose(_) => {
                let (x, y) = (node.operands().next(), node.output);
                let Some(x) = x else { return };
                let decided = self.is_output(y) || !self.is_owner(y);
                let free = self.is_owner(x) && self.is_computed(x) && !self.is_output(x);
                if decided && free {
                    self.alias(x, y, node);
                }
            }
            _ => {}
        }
    }

    fn concatenate(&mut self, id: TensorId, whole: TensorId, axis: usize, start: usize) {
        let (part, joined) = (&self.model[id].ty, &self.model[whole].ty);
        let fits = self.is_computed(id)
            && self.is_owner(id)
            && !self.is_output(id)
            && !self.groups[id.0 as usize].dense
            && part.elem == joined.elem
            && part.shape.len() <= 4
            && self.channels_last[id.0 as usize] == self.channels_last[whole.0 as usize];
        // Pixels beside the part belong to its neighbours, so only channels leave room for a halo.
        let halo = self.groups[id.0 as usize].pads;
        let spatial = self.channels_last[id.0 as usize] && axis >= 2;
        if !fits || (spatial && halo != Pads::default()) || self.refuses(whole, halo) {
            return;
        }
        let mut starts = vec![0; part.shape.len()];
        starts[axis] = start;
        let steps = vec![1; part.shape.len()];
        self.link(
            id,
            Link::Part {
                of: whole,
                starts,
                steps,
            },
        );
    }

    /// Whether a member that needs `pads` cannot join the region of `id`.
    fn refuses(&mut self, id: TensorId, pads: Pads) -> bool {
        self.group(id).dense && pads != Pads::default()
    }

    /// Makes `id` the bytes of `of`, the other side of a reshape or transpose, if they coincide.
    fn alias(&mut self, id: TensorId, of: TensorId, node: &Node) {
        let none = Pads::default();
        let dense = self.groups[id.0 as usize].pads == none && self.pads(of) == none;
        if dense && self.is_contiguous(of) && self.bytes_coincide(node) {
            self.link(id, Link::Bytes(of));
            self.group(of).dense = true;
        }
    }

    /// Whether a tensor lies as it would in a region of its own without halo.
    fn is_contiguous(&self, id: TensorId) -> bool {
        let shape = self.shape(id);
        let own = layout::dense(shape, self.channels_last[id.0 as usize], Pads::default());
        let (_, strides) = self.place(id, Pads::default());
        same_strides(shape, &strides, &own.strides)
    }

    /// Whether a reshape or transpose of dense memory moves nothing.
    fn bytes_coincide(&self, node: &Node) -> bool {
        let (x, y) = (node.operands().next().expect("has an operand"), node.output);
        let strides = |id: TensorId| {
            let last = self.channels_last[id.0 as usize];
            layout::dense(self.shape(id), last, Pads::default()).strides
        };
        match &node.op {
            Op::Transpose(op) => {
                let from = strides(x);
                let moved: Vec<_> = op.perm.iter().map(|axis| from[*axis]).collect();
                same_strides(self.shape(y), &moved, &strides(y))
            }
            _ => {
                is_row_major(self.shape(x), &strides(x)) && is_row_major(self.shape(y), &strides(y))
            }
        }
    }

    /// Links a node's result to an operand.
    fn backward(&mut self, position: usize, node: &Node) {
        let y = node.output;
        let x = match node.operands().find(|id| self.model[*id].value.is_none()) {
            Some(x) if self.is_owner(y) && !self.is_output(y) => x,
            _ => return,
        };
        match &node.op {
            Op::Reshape(_) | Op::Transpose(_) => self.alias(y, x, node),
            Op::Slice(op) => {
                let steps: Option<Vec<_>> =
                    op.steps.iter().map(|s| usize::try_from(*s).ok()).collect();
                // A slice that needs a halo is copied into memory that has one.
                let plain = self.groups[y.0 as usize].pads == Pads::default()
                    && !self.groups[y.0 as usize].dense
                    && self.shape(x).len() <= 4
                    && self.channels_last[x.0 as usize] == self.channels_last[y.0 as usize];
                if let (Some(steps), true) = (steps, plain) {
                    let starts = op.starts.clone();
                    self.link(
                        y,
                        Link::Part {
                            of: x,
                            starts,
                            steps,
                        },
                    );
                }
            }
            Op::Unary(_) | Op::Binary(_) | Op::PRelu(_) => {
                let operands: Vec<_> = node.operands().collect();
                if let Some(x) = operands
                    .iter()
                    .find(|x| self.may_replace(**x, &operands, y, position))
                {
                    self.link(y, Link::Same(*x));
                }
            }
            _ => {}
        }
    }

    /// Whether the result of an element-wise node may overwrite its operand `x`.
    fn may_replace(&mut self, x: TensorId, all: &[TensorId], y: TensorId, position: usize) -> bool {
        let owner = self.owner(x);
        let alone = all
            .iter()
            .all(|other| *other == x || self.owner(*other) != owner);
        let pads = self.groups[y.0 as usize].pads;
        self.model[owner].value.is_none()
            && !self.model.inputs.contains(&owner)
            && alone
            && self.group(x).last_use <= position
            && self.shape(x) == self.shape(y)
            && self.channels_last[x.0 as usize] == self.channels_last[y.0 as usize]
            && !self.refuses(x, pads)
            && (pads == Pads::default() || matches!(self.links[x.0 as usize], Link::Owner))
            && scalar(&self.model[x].ty.elem).bytes() == scalar(&self.model[y].ty.elem).bytes()
    }

    /// Offset and strides of a tensor in its region, whose owner has a halo of `pads`.
    fn place(&self, id: TensorId, pads: Pads) -> (usize, Vec<usize>) {
        let own = |id: TensorId, pads| {
            layout::dense(self.shape(id), self.channels_last[id.0 as usize], pads)
        };
        match &self.links[id.0 as usize] {
            Link::Owner => {
                let own = own(id, pads);
                (own.offset, own.strides)
            }
            Link::Same(of) => self.place(*of, pads),
            Link::Bytes(of) => (self.place(*of, pads).0, own(id, Pads::default()).strides),
            Link::Part { of, starts, steps } => {
                let (offset, strides) = self.place(*of, pads);
                let start: usize = starts.iter().zip(&strides).map(|(i, s)| i * s).sum();
                let strides = strides.iter().zip(steps).map(|(s, step)| s * step);
                (offset + start, strides.collect())
            }
        }
    }

    /// The halo around a tensor: its owner's, unless it is only a part of the owner's rows and columns.
    fn halo(&self, id: TensorId) -> Pads {
        match &self.links[id.0 as usize] {
            Link::Owner => self.pads(id),
            Link::Same(of) => self.halo(*of),
            Link::Bytes(_) => Pads::default(),
            Link::Part { of, .. } => {
                let image = self.channels_last[id.0 as usize];
                if image && self.shape(*of)[2..] == self.shape(id)[2..] {
                    self.halo(*of)
                } else {
                    Pads::default()
                }
            }
        }
    }

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
        if let Some(port) = input.or(output.map(|i| model.inputs.len() + i)) {
            if lies_as(port_last) && !slack() {
                return port;
            }
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

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let own = layout::dense(shape, false, Pads::default());
    same_strides(shape, &own.strides, strides)
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
