//! Calls over places become a program over addresses.

use std::collections::BTreeMap;

use crate::kernel::{Call, Program, Scalar, Slot, identifier};
use crate::lower::context::PlacedCall;
use crate::lower::memory::{self, Leads, Lifetime, Memory, Place, SLACK};
use crate::lower::{Lowering, Options, ports};
use crate::prove::{self, Step};

impl Lowering<'_> {
    /// The program: places become addresses.
    pub(crate) fn finish(mut self, options: &Options) -> Program {
        let inputs = self.model.inputs.len();
        let mut program = Program {
            name: identifier(&self.model.name, "model"),
            inputs: ports::inputs(self.model, options),
            outputs: ports::outputs(self.model),
            arena_bytes: 0,
            align: self.target.align,
            calls: vec![],
            kernels: std::mem::take(&mut self.kernels),
            constants: std::mem::take(&mut self.constants),
            threads: 0,
        };
        // Threads take turns of a loop in any order.
        let overlap = options.threads == 0;
        let (offsets, arena_bytes, overlapped) = self.addresses(&program, overlap);
        program.arena_bytes = arena_bytes;
        let slot = |place: &Place, scalar: Scalar| match self.plan.regions[place.region].memory {
            Memory::Arena => Slot::Arena(offsets[place.region] + place.offset * scalar.bytes()),
            Memory::Input(_) => Slot::Input(place.region, place.offset),
            Memory::Output(_) => Slot::Output(place.region - inputs, place.offset),
        };
        let calls = self.calls.iter().zip(overlapped).map(|(call, overlaps)| {
            let buffers = &program.kernels[call.kernel].buffers;
            let args = call.args.iter().zip(buffers);
            Call {
                layer: call.layer.clone(),
                kernel: call.kernel,
                args: args
                    .map(|(place, buffer)| slot(place, buffer.elem))
                    .collect(),
                overlaps,
                macs: call.macs,
            }
        });
        program.calls = calls.collect();
        program
    }

    /// Offsets of the arena's regions, its size, and by call whether it writes over what it reads.
    fn addresses(&self, program: &Program, overlap: bool) -> (Vec<usize>, usize, Vec<bool>) {
        let align = program.align;
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
        let regions: Vec<_> = used.keys().copied().collect();
        let lifetimes: Vec<_> = used.values().copied().collect();
        let leads = match overlap {
            true => self.leads(program, &regions, &lifetimes),
            false => Leads::new(),
        };
        let (places, bytes) = memory::allocate(&lifetimes, &leads, align);
        let mut offsets = vec![0; self.plan.regions.len()];
        for (region, offset) in regions.iter().zip(&places) {
            offsets[*region] = *offset;
        }
        let mut overlapped = vec![false; self.calls.len()];
        for (result, operand) in leads.keys() {
            let (new, old) = (lifetimes[*result], lifetimes[*operand]);
            if places[*result] < places[*operand] + old.bytes
                && places[*operand] < places[*result] + new.bytes
            {
                overlapped[new.first..=old.last].fill(true);
            }
        }
        let arena_bytes = if used.is_empty() {
            0
        } else {
            (bytes + SLACK).next_multiple_of(align)
        };
        (offsets, arena_bytes, overlapped)
    }

    /// How far a result must begin before an operand that dies, where less than the result's size is enough.
    fn leads(&self, program: &Program, regions: &[usize], lifetimes: &[Lifetime]) -> Leads {
        let mut leads = Leads::new();
        for (result, new) in lifetimes.iter().enumerate() {
            for (operand, old) in lifetimes.iter().enumerate() {
                let both = new.first..=old.last;
                if old.first >= new.first || old.last >= new.last || both.is_empty() {
                    continue;
                }
                let steps: Vec<_> = self.calls[both]
                    .iter()
                    .map(|call| Step {
                        kernel: &program.kernels[call.kernel],
                        read: self.buffers(program, call, regions[operand]),
                        written: self.buffers(program, call, regions[result]),
                    })
                    .collect();
                let lead = prove::lead(program, &steps, self.target).map(|lead| lead as usize);
                if let Ok(lead) = lead
                    && lead < new.bytes
                {
                    leads.insert((result, operand), lead);
                }
            }
        }
        leads
    }

    /// The buffers of a call that lie in a region, and their first bytes there.
    fn buffers<'p>(
        &self,
        program: &'p Program,
        call: &PlacedCall,
        region: usize,
    ) -> Vec<(&'p str, i64)> {
        let buffers = &program.kernels[call.kernel].buffers;
        let lie = call
            .args
            .iter()
            .zip(buffers)
            .filter(|(place, _)| place.region == region);
        lie.map(|(place, buffer)| {
            (
                buffer.name.as_str(),
                (place.offset * buffer.elem.bytes()) as i64,
            )
        })
        .collect()
    }
}
