//! Emitted programs of a network, built and run, for `verify`, `bench` and `run`.

use qcc_compiler::backend::Header;
use qcc_compiler::harness::{self, Compiler, Executable, Runner, Skipped};
use qcc_compiler::ir::{Array, Model};
use qcc_compiler::kernel::Program;
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{Language, Target};
use qcc_compiler::{Error, Result, bail};

use crate::args::TargetArgs;

/// A lowered network and its machine.
pub(crate) struct Lowered {
    /// The machine.
    pub(crate) target: Target,
    /// The program.
    pub(crate) program: Program,
}

impl Lowered {
    /// Lowers an integer model.
    pub(crate) fn new(model: &Model, args: &TargetArgs) -> Result<Lowered> {
        let target = args.load()?;
        let program = pipeline::lower(model, &target, &args.options(), "network")?;
        Ok(Lowered { target, program })
    }

    /// Refuses machines that this one is not.
    pub(crate) fn check_runs_here(&self) -> Result<()> {
        harness::runs_here(&self.target).map_err(refusal)
    }

    /// What runs programs here: the processor, or an emulator where that must be or is asked for.
    pub(crate) fn runner(&self, emulate: bool) -> Result<Runner> {
        harness::runner(&self.target, emulate).map_err(refusal)
    }

    fn print(&self, language: Language, trace: bool) -> Source {
        let header = Header {
            model: self.program.name.clone(),
            options: format!("--target {}", self.target.name),
            version: env!("CARGO_PKG_VERSION").to_string(),
            trace,
            thread_pool: false,
        };
        pipeline::print(&self.program, &self.target, language, &header)
    }

    /// The best compiler of a language, or the one asked for by name.
    pub(crate) fn compiler(&self, language: Language, name: Option<&str>) -> Result<Compiler> {
        if let Some(name) = name {
            return Ok(Compiler::new(&self.target, language, name.as_ref(), "3"));
        }
        let (found, skipped) = harness::compilers(&self.target, language);
        match found.into_iter().rfind(|c| c.name.ends_with("-O3")) {
            Some(compiler) => Ok(compiler),
            None => {
                let names: Vec<_> = skipped.into_iter().map(|s| s.name).collect();
                bail!("no compiler is installed"; hint: "install {}", names.join(" or "))
            }
        }
    }

    /// A check program of the emitted text, with or without a trace hook.
    pub(crate) fn build(&self, compiler: &Compiler, trace: bool) -> Result<Executable> {
        let source = self.print(compiler.language, trace);
        Executable::build(&source, &self.program, &self.target, compiler, trace)
    }

    /// The outputs of one sample of quantized integers.
    pub(crate) fn run(
        &self,
        executable: &Executable,
        model: &Model,
        inputs: &[Array],
    ) -> Result<Vec<Array>> {
        let sample = harness::to_ports(&self.program, inputs);
        let outputs = executable.run(&[sample])?;
        Ok(harness::from_ports(&self.program, model, &outputs[0]))
    }
}

fn refusal(skipped: Skipped) -> Error {
    Error::new(format!(
        "programs for {} do not run here: {}",
        skipped.name, skipped.reason
    ))
}
