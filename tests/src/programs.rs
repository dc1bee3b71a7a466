//! Emitted programs of whole networks beside the integer evaluator, bit for bit, wherever programs run here.

use std::sync::OnceLock;

use qcc_compiler::backend::Header;
use qcc_compiler::data::Sample;
use qcc_compiler::harness::{self, Compiler, Executable, Layers, Runner};
use qcc_compiler::ir::{Array, Data, Model};
use qcc_compiler::kernel::Program;
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{self, Language, Memory, Target};
use qcc_compiler::{Error, Result, integer, lower};

use crate::trained::skipped;

/// A compiler of programs that run here.
#[derive(Clone, Debug)]
pub struct Place {
    /// The machine.
    pub target: Target,
    /// The compiler, for a language and a level of optimisation.
    pub compiler: Compiler,
    /// Whether an emulator runs the programs.
    pub emulated: bool,
}

/// Larger programs do not fit the boards that emulators without an operating system are.
const SMALL: usize = 3 << 20;

/// Every machine with every compiler, on the processor if it has the instructions, else in an emulator. What is left
/// out is printed, once.
pub fn places() -> &'static [Place] {
    static PLACES: OnceLock<Vec<Place>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let mut places = vec![];
        for name in target::names() {
            let target = Target::load(name).expect("a machine of the list");
            let runner = match harness::runner(&target, false) {
                Ok(runner) => runner,
                Err(why) => {
                    skipped(&format!("programs for {name}: {}", why.reason));
                    continue;
                }
            };
            for language in target.languages.clone() {
                let (compilers, left_out) = runner.compilers(&target, language);
                for why in left_out {
                    skipped(&format!("{} for {name}: {}", why.name, why.reason));
                }
                places.extend(compilers.into_iter().map(|compiler| Place {
                    target: target.clone(),
                    compiler,
                    emulated: matches!(runner, Runner::Emulator(..)),
                }));
            }
        }
        places
    })
}

/// What a machine has room for, where that is little.
fn memory(target: &Target) -> Option<Memory> {
    target.emulator.as_ref().and_then(|e| e.memory)
}

/// What linkers say of a program that fills its machine's memory, and simulators of its stack.
fn does_not_fit(error: &Error) -> bool {
    let text = error.to_string();
    let words = [
        "will not fit in region",
        "is not within region",
        "the stack overflows",
    ];
    words.iter().any(|word| text.contains(word))
}

/// What a check program is made from.
pub struct Emitted {
    program: Program,
    source: Source,
}

impl Emitted {
    /// Lowers and prints a network.
    pub fn new(model: &Model, target: &Target, language: Language, name: &str) -> Result<Emitted> {
        let program = pipeline::lower(model, target, &lower::Options::default(), name)?;
        let header = Header {
            model: name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            ..Header::default()
        };
        let source = pipeline::print(&program, target, language, &header);
        Ok(Emitted { program, source })
    }

    /// Whether its constants or its data are too large for a machine; its code may be so yet.
    fn too_large(&self, place: &Place) -> bool {
        let constants = self.program.constants.iter().map(|c| c.bytes.len());
        let memory = memory(&place.target).unwrap_or(Memory {
            code: SMALL,
            data: SMALL,
        });
        let large =
            constants.sum::<usize>() > memory.code || self.program.data_bytes() > memory.data;
        place.compiler.freestanding && large
    }
}

/// A network's inputs, and what the integer evaluator makes of them.
pub struct Oracle<'a> {
    model: &'a Model,
    name: &'a str,
    inputs: Vec<Vec<Array>>,
    outputs: Vec<Vec<Array>>,
}

impl<'a> Oracle<'a> {
    /// Evaluates all samples.
    pub fn ask(model: &'a Model, name: &'a str, samples: &[Sample]) -> Result<Oracle<'a>> {
        let quantized = |s: &Sample| integer::quantize_inputs(model, &s.inputs);
        let inputs: Vec<_> = samples.iter().map(quantized).collect();
        let outputs = inputs.iter().map(|i| integer::run(model, i));
        Ok(Oracle {
            outputs: outputs.collect::<Result<_>>()?,
            model,
            name,
            inputs,
        })
    }

    /// Compares the programs of every compiler on the processor.
    ///
    /// # Panics
    ///
    /// If a number of a program differs.
    pub fn check_all(&self) -> Result<usize> {
        let native = places().iter().filter(|place| !place.emulated);
        native.map(|place| self.check(place).map(usize::from)).sum()
    }

    /// Compares `count` programs. Networks that are many and large take turns among the compilers: those of successive
    /// turns are different ones, of different machines. With `$QCC_ALL_PROGRAMS` all run.
    ///
    /// # Panics
    ///
    /// If a number of a program differs, or no program fits its machine.
    pub fn check_some(&self, turn: usize, count: usize) -> Result<()> {
        // What a compiler leaves unoptimised is too slow for an emulator.
        let slow = |place: &&Place| place.emulated && place.compiler.name.contains(" -O0");
        let places: Vec<_> = places().iter().filter(|place| !slow(place)).collect();
        let all = std::env::var_os("QCC_ALL_PROGRAMS").is_some();
        let count = if all { places.len() } else { count };
        let mut ran = 0;
        for i in 0..places.len() {
            // Neighbours in the list are of one machine.
            let stride = places.len() / count;
            let place = places[(turn + i * stride + i / count) % places.len()];
            ran += usize::from(self.check(place)?);
            if ran == count {
                return Ok(());
            }
        }
        assert!(ran > 0 || places.is_empty(), "{}: no program", self.name);
        Ok(())
    }

    /// Compares one program; false if the machine is too small for it.
    ///
    /// # Panics
    ///
    /// If a number differs.
    pub fn check(&self, place: &Place) -> Result<bool> {
        let emitted = Emitted::new(
            self.model,
            &place.target,
            place.compiler.language,
            self.name,
        )?;
        if emitted.too_large(place) {
            return Ok(false);
        }
        let count = match place.emulated {
            true => 1,
            false => self.inputs.len(),
        };
        let differences = self.differences(&emitted, &place.target, &place.compiler, count);
        if memory(&place.target).is_some() && differences.as_ref().is_err_and(does_not_fit) {
            return Ok(false);
        }
        let differences = differences?;
        let what = format!("{} for {}", place.compiler.name, place.target.name);
        assert_eq!(differences, 0, "{}, {what}: not what it is", self.name);
        Ok(true)
    }

    /// How many numbers of a program's outputs are not the integer evaluator's, for the first samples.
    pub fn differences(
        &self,
        emitted: &Emitted,
        target: &Target,
        compiler: &Compiler,
        samples: usize,
    ) -> Result<usize> {
        let Emitted { program, source } = emitted;
        let executable = Executable::build(source, program, target, compiler, Layers::Untold)?;
        // What a compiler leaves unoptimised is slow: one sample shows that it computes the same.
        let samples = if compiler.name.contains(" -O0") {
            1
        } else {
            samples
        };
        let inputs = self.inputs.iter().take(samples);
        let fed = inputs.map(|i| harness::to_ports(program, i));
        let answers = executable.run(&fed.collect::<Vec<_>>())?;
        let found = answers.iter();
        let found = found.map(|a| harness::from_ports(program, self.model, a));
        Ok(found.zip(&self.outputs).map(|(f, w)| unequal(&f, w)).sum())
    }
}

fn unequal(found: &[Array], wanted: &[Array]) -> usize {
    assert_eq!(found.len(), wanted.len());
    let pairs = found.iter().zip(wanted).map(|(f, w)| {
        assert_eq!(f.shape, w.shape);
        let (f, w) = (bits(f), bits(w));
        f.iter().zip(&w).filter(|(f, w)| f != w).count()
    });
    pairs.sum()
}

/// Integers, and reals by their bits; one NaN stands for all.
fn bits(array: &Array) -> Vec<i64> {
    let one = |x: &f32| if x.is_nan() { f32::NAN } else { *x };
    match &array.data {
        Data::I32(v) => v.iter().map(|x| i64::from(*x)).collect(),
        Data::I64(v) => v.clone(),
        Data::F32(v) => v.iter().map(|x| i64::from(one(x).to_bits())).collect(),
    }
}
