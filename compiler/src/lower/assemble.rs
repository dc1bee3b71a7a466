//! Calls over places become a program over addresses.

use std::collections::BTreeMap;

use crate::kernel::{Call, Program, Scalar, Slot, identifier};
use crate::lower::memory::{self, Lifetime, Memory, Place, SLACK};
use crate::lower::{Lowering, Options, ports};

impl Lowering<'_> {
    /// The program: places become addresses.
    pub(crate) fn finish(self, options: &Options) -> Program {
        let align = self.target.align;
        let (offsets, arena_bytes) = self.addresses(align);
        let inputs = self.model.inputs.len();
        let slot = |place: &Place, scalar: Scalar| match self.plan.regions[place.region].memory {
            Memory::Arena => Slot::Arena(offsets[place.region] + place.offset * scalar.bytes()),
            Memory::Input(_) => Slot::Input(place.region, place.offset),
            Memory::Output(_) => Slot::Output(place.region - inputs, place.offset),
        };
        let calls = self.calls.iter().map(|call| {
            let buffers = &self.kernels[call.kernel].buffers;
            let args = call.args.iter().zip(buffers);
            Call {
                layer: call.layer.clone(),
                kernel: call.kernel,
                args: args
                    .map(|(place, buffer)| slot(place, buffer.elem))
                    .collect(),
                macs: call.macs,
            }
        });
        Program {
            name: identifier(&self.model.name, "model"),
            inputs: ports::inputs(self.model, options),
            outputs: ports::outputs(self.model),
            arena_bytes,
            align,
            calls: calls.collect(),
            kernels: self.kernels,
            constants: self.constants,
            threads: 0,
        }
    }

    /// Offsets of the arena's regions, and its size.
    fn addresses(&self, align: usize) -> (Vec<usize>, usize) {
        let mut used = BTreeMap::new();
        for (time, call) in self.calls.iter().enumerate() {
            for place in &call.args {
                let region = &self.plan.regions[place.region];
                if region.memory == Memory::Arena {
                    let life = used.entry(place.region).or_insert(Lifetime {
                        first: time,
                        last: time,
                        bytes: region.bytes,
                    });
                    life.last = time;
                }
            }
        }
        let lifetimes: Vec<_> = used.values().copied().collect();
        let (places, bytes) = memory::allocate(&lifetimes, align);
        let mut offsets = vec![0; self.plan.regions.len()];
        for (region, offset) in used.keys().zip(places) {
            offsets[*region] = offset;
        }
        let arena_bytes = if used.is_empty() {
            0
        } else {
            (bytes + SLACK).next_multiple_of(align)
        };
        (offsets, arena_bytes)
    }
}
