//! How tensors share memory.

use crate::ir::{Model, TensorId};
use crate::lower::layout;
use crate::lower::needs::{self, Needs};
use crate::ops::Pads;
use crate::target::Target;

/// How a tensor's memory relates to another's.
#[derive(Clone, Debug)]
pub(crate) enum Link {
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
pub(crate) struct Group {
    pub(crate) pads: Pads,
    /// Some member needs the memory without a halo.
    pub(crate) dense: bool,
    /// The last node that reads a member.
    pub(crate) last_use: usize,
}

pub(crate) struct Links<'a> {
    pub(crate) model: &'a Model,
    /// By tensor, what its readers ask for.
    pub(crate) needs: Vec<Needs>,
    /// By tensor.
    pub(crate) channels_last: Vec<bool>,
    /// By tensor.
    pub(crate) links: Vec<Link>,
    /// By tensor; true at owners.
    pub(crate) groups: Vec<Group>,
}

impl<'a> Links<'a> {
    /// Every tensor owns its memory.
    pub(crate) fn new(model: &'a Model, target: &Target) -> Links<'a> {
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

    /// The tensor whose region a tensor lies in.
    pub(crate) fn owner(&self, id: TensorId) -> TensorId {
        match &self.links[id.0 as usize] {
            Link::Owner => id,
            Link::Same(of) | Link::Part { of, .. } | Link::Bytes(of) => self.owner(*of),
        }
    }

    /// Extents of a tensor.
    pub(crate) fn shape(&self, id: TensorId) -> &'a [usize] {
        &self.model[id].ty.shape
    }

    /// Whether a tensor has a region of its own.
    pub(crate) fn is_owner(&self, id: TensorId) -> bool {
        matches!(self.links[id.0 as usize], Link::Owner)
    }

    /// The halo of the region that a tensor lies in.
    pub(crate) fn pads(&self, id: TensorId) -> Pads {
        self.facts(id).pads
    }

    /// What is known of the region that a tensor lies in.
    pub(crate) fn facts(&self, id: TensorId) -> Group {
        self.groups[self.owner(id).0 as usize]
    }

    /// Makes an owner share another tensor's memory.
    pub(crate) fn link(&mut self, id: TensorId, link: Link) {
        let joining = self.groups[id.0 as usize];
        self.links[id.0 as usize] = link;
        let owner = self.owner(id);
        let group = &mut self.groups[owner.0 as usize];
        group.pads = needs::union(group.pads, joining.pads);
        group.dense |= joining.dense;
        group.last_use = group.last_use.max(joining.last_use);
    }

    /// Whether a member that needs `pads` cannot join the region of `id`.
    pub(crate) fn refuses(&self, id: TensorId, pads: Pads) -> bool {
        self.facts(id).dense && pads != Pads::default()
    }

    /// Offset and strides of a tensor in its region, whose owner has a halo of `pads`.
    pub(crate) fn place(&self, id: TensorId, pads: Pads) -> (usize, Vec<usize>) {
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
    pub(crate) fn halo(&self, id: TensorId) -> Pads {
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
}
