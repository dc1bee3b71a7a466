//! Emitted programs of a network, built and run, for `verify`, `bench` and `run`.

use std::path::Path;

use qcc_compiler::backend::Header;
use qcc_compiler::harness::{self, Compiler, Executable, Layers, Runner, Skipped};
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

    /// The best compiler of a language whose programs run here, or the one asked for by its command.
    pub(crate) fn compiler(
        &self,
        runner: &Runner,
        language: Language,
        command: Option<&str>,
    ) -> Result<Compiler> {
        self.target.speaks(language)?;
        if let (Some(command), Runner::Processor) = (command, runner) {
            return Ok(Compiler::new(&self.target, language, command.as_ref(), "3"));
        }
        let (found, skipped) = runner.compilers(&self.target, language);
        let asked = |c: &&Compiler| command.is_none_or(|name| c.command == Path::new(name));
        let optimising = |c: &&Compiler| !c.name.contains(" -O0");
        if let Some(compiler) = found.iter().rfind(|c| optimising(c) && asked(c)) {
            return Ok(compiler.clone());
        }
        let mut commands: Vec<_> = found
            .iter()
            .map(|c| c.command.display().to_string())
            .collect();
        commands.dedup();
        match (command, runner) {
            (Some(_), Runner::Emulator(name, _)) if !found.is_empty() => bail!(
                "{name} does not run programs of this compiler";
                hint: "it runs those of {}", commands.join(", ")
            ),
            _ => {
                let reasons = skipped
                    .into_iter()
                    .map(|s| format!("{}: {}", s.name, s.reason));
                let reasons: Vec<_> = reasons.collect();
                bail!(
                    "no compiler makes {} that runs here for {}", language.name(), self.target.name;
                    hint: "{}", reasons.join("; ")
                )
            }
        }
    }

    /// A check program of the emitted text.
    pub(crate) fn build(&self, compiler: &Compiler, layers: Layers) -> Result<Executable> {
        let source = self.print(compiler.language, layers != Layers::Untold);
        Executable::build(&source, &self.program, &self.target, compiler, layers)
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
