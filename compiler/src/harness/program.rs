//! A check program: reads samples from stdin, runs the network, writes outputs to stdout; or measures time, or is
//! counted.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use minijinja::{Environment, context};

use crate::embedded::TEMPLATES;
use crate::harness::{Compiler, Count, Counter};
use crate::kernel::{Port, Program, Scalar};
use crate::pipeline::Source;
use crate::target::{Language, Target};
use crate::{Error, Result, bail};

/// A compiled check program in a folder of its own, which goes away with it.
pub struct Executable {
    folder: tempfile::TempDir,
    run: Vec<String>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    calls: usize,
}

/// What becomes of the ends of layers, of which emitted source can tell (its trace hook).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Nothing: the source has no hook.
    Untold,
    /// Each is timed.
    Timed,
    /// Each is marked for what counts instructions; the program does nothing but one evaluation.
    Marked,
}

/// What a check program computed.
pub struct Answers {
    /// The bytes of the outputs, sample by sample.
    pub outputs: Vec<Vec<Vec<u8>>>,
    /// Bytes of stack that the network took, which programs without an operating system tell.
    pub stack: Option<usize>,
}

/// Duration of one evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timing {
    /// Nanoseconds of the fastest evaluation.
    pub best: f64,
    /// Nanoseconds of the median evaluation.
    pub median: f64,
    /// Cycles in a nanosecond, where the check program can tell: timed, not counted.
    pub rate: Option<f64>,
    /// Nanoseconds of each call in the fastest evaluation of its own, if the program was built with a trace hook.
    pub calls: Vec<f64>,
}

impl Executable {
    /// Compiles emitted source together with a check program. The source was printed with a trace hook unless its
    /// layers are untold.
    pub fn build(
        source: &Source,
        program: &Program,
        target: &Target,
        compiler: &Compiler,
        layers: Layers,
    ) -> Result<Executable> {
        let failed = |e: std::io::Error| Error::new(format!("cannot build a check program: {e}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
        let name = &program.name;
        let check = match source {
            Source::Rust(text) => {
                write(&format!("{name}.rs"), text).map_err(failed)?;
                ["check.rs", "freestanding.rs"]
            }
            Source::C(c) => {
                write(&format!("{name}.h"), &c.header).map_err(failed)?;
                write(&format!("{name}.c"), &c.source).map_err(failed)?;
                ["check.c", "freestanding.c"]
            }
        };
        let template = check[usize::from(compiler.freestanding)];
        let check = check[0];
        let text = render(template, program, compiler, layers)?;
        write(check, &text).map_err(failed)?;
        for (name, text) in &compiler.files {
            write(name, text).map_err(failed)?;
        }
        let mut command = Command::new(&compiler.command);
        command.args(&compiler.arguments).arg(check);
        if let Source::C(_) = source {
            command.arg(format!("{name}.c"));
        }
        command.args(["-o", "check"]).current_dir(folder.path());
        let output = command
            .output()
            .map_err(|e| Error::new(format!("{} does not start: {e}", compiler.name)))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let head: Vec<_> = text.lines().take(20).collect();
            bail!(
                "{} refuses the program for {}:\n{}",
                compiler.name,
                target.name,
                head.join("\n")
            );
        }
        let mut run = compiler.run.clone();
        if let Some(simulator) = &compiler.simulator {
            let path = simulator.compile(folder.path()).map_err(Error::new)?;
            run.insert(0, path.display().to_string());
        }
        Ok(Executable {
            folder,
            run,
            inputs: program.inputs.iter().map(bytes).collect(),
            outputs: program.outputs.iter().map(bytes).collect(),
            calls: program.calls.len(),
        })
    }

    /// The bytes of the outputs for the bytes of the inputs, sample by sample.
    pub fn run(&self, samples: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<Vec<u8>>>> {
        Ok(self.evaluate(samples)?.outputs)
    }

    /// The same, with the stack that it takes.
    pub fn evaluate(&self, samples: &[Vec<Vec<u8>>]) -> Result<Answers> {
        for (i, sample) in samples.iter().enumerate() {
            let sizes: Vec<_> = sample.iter().map(Vec::len).collect();
            if sizes != self.inputs {
                bail!(
                    "sample {i} has inputs of {sizes:?} bytes, the program takes {:?}",
                    self.inputs
                );
            }
        }
        let written = samples.concat().concat();
        let (bytes, said) = self.start(&self.run, &[], written)?;
        let stack = said.lines().find_map(|line| line.strip_prefix("stack "));
        let stack = stack.and_then(|bytes| bytes.parse().ok());
        let each: usize = self.outputs.iter().sum();
        if bytes.len() != each * samples.len() {
            bail!(
                "the check program wrote {} bytes for {} samples of {each}",
                bytes.len(),
                samples.len()
            );
        }
        let mut rest = bytes.as_slice();
        let mut take = |n: &usize| {
            let (head, tail) = rest.split_at(*n);
            rest = tail;
            head.to_vec()
        };
        let outputs = samples.iter();
        let outputs = outputs.map(|_| self.outputs.iter().map(&mut take).collect());
        Ok(Answers {
            outputs: outputs.collect(),
            stack,
        })
    }

    /// Time of one evaluation, over `repeats` of them on one sample.
    pub fn time(&self, sample: &[Vec<u8>], repeats: usize) -> Result<Timing> {
        let (bytes, _) = self.start(&self.run, &[repeats.to_string()], sample.concat())?;
        let text = String::from_utf8_lossy(&bytes);
        let mut timing = Timing::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) else {
                bail!("the check program wrote `{line}`");
            };
            match name {
                "best" => timing.best = value,
                "median" => timing.median = value,
                "rate" => timing.rate = Some(value).filter(|c| *c > 0.0),
                _ => timing.calls.push(value),
            }
        }
        Ok(timing)
    }

    /// What each call of one evaluation executes, of a program whose layers are marked.
    pub fn count(&self, counter: &Counter, sample: &[Vec<u8>]) -> Result<Vec<Count>> {
        let out = self.folder.path().join("counts");
        self.start(&counter.command(&self.run, &out), &[], sample.concat())?;
        let counts = Counter::read(&out)?;
        match counts.len() == self.calls {
            true => Ok(counts),
            false => bail!("{} of {} calls were counted", counts.len(), self.calls),
        }
    }

    /// What the program writes to stdout and to stderr.
    fn start(
        &self,
        run: &[String],
        arguments: &[String],
        input: Vec<u8>,
    ) -> Result<(Vec<u8>, String)> {
        let failed = |e: std::io::Error| Error::new(format!("the check program fails: {e}"));
        let path = self.folder.path().join("check").into_os_string();
        let mut words = run.iter().map(OsString::from).chain([path]);
        let mut child = Command::new(words.next().expect("the program's path"))
            .args(words)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let mut stdout = child.stdout.take().expect("stdout is piped");
        // A second thread writes, or both sides could wait for each other with full pipes.
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let mut bytes = vec![];
        stdout.read_to_end(&mut bytes).map_err(failed)?;
        let output = child.wait_with_output().map_err(failed)?;
        let written = writer.join().expect("writing does not panic");
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!(
                "the check program ends with {}\n{}",
                output.status,
                said.trim_end()
            );
        }
        written.map_err(failed)?;
        Ok((bytes, said.into_owned()))
    }
}

fn bytes(port: &Port) -> usize {
    port.ty.len() * port.scalar.bytes()
}

/// The text of a check program.
fn render(
    template: &str,
    program: &Program,
    compiler: &Compiler,
    layers: Layers,
) -> Result<String> {
    let extension = match compiler.language {
        Language::C => ".h",
        Language::Rust => ".rs",
    };
    let system = compiler.files.iter().map(|(name, _)| name);
    let system = system.into_iter().find(|name| name.ends_with(extension));
    let failed = |e: minijinja::Error| Error::new(format!("template {template}: {e}"));
    let mut environment = Environment::new();
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).map_err(failed)?;
    }
    let port = |p: &Port| {
        context! {
            len => p.ty.len(),
            rust => format!("{:?}", p.scalar).to_lowercase(),
            c => c_type(p.scalar),
        }
    };
    let values = context! {
        name => &program.name,
        system,
        inputs => program.inputs.iter().map(port).collect::<Vec<_>>(),
        outputs => program.outputs.iter().map(port).collect::<Vec<_>>(),
        arena => program.arena_bytes,
        align => program.align,
        calls => program.calls.len(),
        times => layers == Layers::Timed,
        marks => layers == Layers::Marked,
    };
    let template = environment.get_template(template).map_err(failed)?;
    template.render(values).map_err(failed)
}

fn c_type(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::I8 => "int8_t",
        Scalar::U8 => "uint8_t",
        Scalar::I16 => "int16_t",
        Scalar::U16 => "uint16_t",
        Scalar::I32 => "int32_t",
        Scalar::U32 => "uint32_t",
        Scalar::I64 => "int64_t",
        Scalar::F32 => "float",
    }
}
