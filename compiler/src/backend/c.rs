//! Prints a program as C99: a source file and its header.

use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::port::{Described, describe, place, unused};
use super::row::{Spelling, qualified};
use super::{
    Header, described, flash_bytes, function_names, has_reals, literal, macs, operations,
    runs_in_place, wrap,
};
use crate::embedded::TEMPLATES;
use crate::kernel::{Call, Constant, Kernel, Program, Scalar, Slot, Stmt, simplified};
use crate::target::{Language, Target, identifiers};

/// The two files of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `NAME.c`, which includes `NAME.h`.
    pub source: String,
    /// `NAME.h`.
    pub header: String,
}

/// The text of a program.
pub fn print(program: &Program, target: &Target, header: &Header) -> Source {
    let names = function_names(program, target);
    let kernels = program.kernels.iter().zip(&names);
    let kernels: Vec<String> = kernels
        .map(|(k, name)| kernel(k, name, program, target))
        .collect();
    let snippets = target.snippets(operations(program), Language::C);
    let code = kernels.concat() + &snippets.concat();
    let aligned = target.align > 8;
    let constants = program.constants.iter().map(|c| constant(c, target));
    let frame = frame(program, target, header);
    let source = context! {
        includes => includes(target, &code).into_iter().map(str::to_string).collect::<Vec<_>>(),
        requires => target.c.requires.clone(),
        flags => target.c.flags.join(" "),
        gcc => target.c.gcc.iter().map(|option| format!("{option:?}")).collect::<Vec<_>>().join(", "),
        long_strings => program.constants.iter().any(|c| c.bytes.len() > 4095),
        ignore => target.c.ignore.clone(),
        aligned => aligned && !program.constants.is_empty(),
        constants => constants.collect::<Vec<_>>(),
        snippets => snippets.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
        kernels,
        trace => header.trace,
        reals => has_reals(program),
        unused => unused(program).iter().map(|p| p.parameter.clone()).collect::<Vec<_>>(),
        calls => calls(program, &names, target, header),
        parts => parts(program, &names, target),
        ..frame.clone()
    };
    Source {
        source: render("c_source", source),
        header: render("c_header", frame),
    }
}

fn render(template: &str, values: Value) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let (_, text) = TEMPLATES
        .iter()
        .find(|(name, _)| *name == template)
        .expect("the template is embedded");
    environment
        .render_str(text, values)
        .expect("templates name only what their printer gives")
        + "\n"
}

/// What both files say about the program.
fn frame(program: &Program, target: &Target, header: &Header) -> Value {
    let (inputs, outputs) = describe(program);
    let align = target.align.max(program.align);
    let mut end = program.arena_bytes.next_multiple_of(8);
    let mut ports = |ports: &[Described]| -> Vec<Value> {
        ports
            .iter()
            .map(|p| {
                let offset = end;
                end += p.room();
                port(p, offset)
            })
            .collect()
    };
    let (input_values, output_values) = (ports(&inputs), ports(&outputs));
    let name = &program.name;
    context! {
        header => header_lines(program, target, header),
        name => name.clone(),
        NAME => name.to_uppercase(),
        inputs => input_values,
        outputs => output_values,
        quantizes => inputs.iter().any(|p| p.quantized),
        arena_bytes => program.arena_bytes,
        arena_f32_bytes => end,
        align,
        flash_bytes => flash_bytes(program),
        macs => macs(program),
        call_run => call_run(name, inputs.iter().chain(&outputs)),
        threads => program.threads,
        run_parallel => parallel_signature(program, &inputs, &outputs),
        call_parallel => call_parallel(program, &inputs, &outputs),
        run => signature(&format!("{name}_run"), &inputs, &outputs, |p| c_type(p.scalar)),
        run_f32 => signature(&format!("{name}_run_f32"), &inputs, &outputs, |_| "float"),
    }
}

fn header_lines(program: &Program, target: &Target, header: &Header) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} for {}, made by qcc {}.",
        program.name,
        described(program),
        target.name,
        header.version
    )];
    lines.push(format!("Model: {}", comment(&header.model)));
    if !header.options.is_empty() {
        lines.push(format!("Options: {}", comment(&header.options)));
    }
    if has_reals(program) {
        lines.push(
            "Reals are IEEE f32, one rounded operation after the other: compile without -ffast-math."
                .to_string(),
        );
    }
    lines
}

fn port(p: &Described, offset: usize) -> Value {
    let shape: Vec<String> = p.shape.iter().map(usize::to_string).collect();
    context! {
        parameter => p.parameter.clone(),
        PARAMETER => p.parameter.to_uppercase(),
        len => p.len,
        rank => p.shape.len(),
        shape => shape.join(", "),
        ty => c_type(p.scalar),
        scale => format!("{:?}", p.scale),
        zero_point => p.zero_point,
        low => p.low,
        high => p.high,
        quantized => p.quantized,
        real => p.real,
        converts => !p.real,
        address => match offset {
            0 => "memory".to_string(),
            _ => format!("(memory + {offset})"),
        },
    }
}

/// `int NAME(const T *input, T *output, void *arena)`.
fn signature(
    name: &str,
    inputs: &[Described],
    outputs: &[Described],
    ty: fn(&Described) -> &'static str,
) -> String {
    let inputs = inputs
        .iter()
        .map(|p| format!("const {} *{}", ty(p), p.parameter));
    let outputs = outputs
        .iter()
        .map(|p| format!("{} *{}", ty(p), p.parameter));
    let params: Vec<String> = inputs
        .chain(outputs)
        .chain(["void *arena".to_string()])
        .collect();
    let mut text = String::new();
    wrap::line(&mut text, 0, &format!("int {name}({})", params.join(", ")));
    text.trim_end().to_string()
}

/// `int NAME_run_parallel(.., size_t threads, NAME_parallel_for parallel_for, void *context)`.
fn parallel_signature(program: &Program, inputs: &[Described], outputs: &[Described]) -> String {
    let name = &program.name;
    let run = signature(&format!("{name}_run_parallel"), inputs, outputs, |p| {
        c_type(p.scalar)
    });
    let run: Vec<&str> = run.lines().map(str::trim).collect();
    let run = run.join(" ").replace("( ", "(").replace(" )", ")");
    let run = run.trim_end_matches(')');
    let threads = format!("size_t threads, {name}_parallel_for parallel_for, void *context");
    let mut text = String::new();
    wrap::line(&mut text, 0, &format!("{run}, {threads})"));
    text.trim_end().to_string()
}

/// The call of `run_parallel` in `run`.
fn call_parallel(program: &Program, inputs: &[Described], outputs: &[Described]) -> String {
    let ports = inputs.iter().chain(outputs).map(|p| p.parameter.clone());
    let given = ["arena", "1", "NULL", "NULL"].map(str::to_string);
    let args: Vec<String> = ports.chain(given).collect();
    statement(&format!(
        "return {}_run_parallel({});",
        program.name,
        args.join(", ")
    ))
}

/// The call of `run` in `run_f32`.
fn call_run<'a>(name: &str, ports: impl Iterator<Item = &'a Described>) -> String {
    let args = ports.map(|p| match p.real {
        true => p.parameter.clone(),
        false => format!("{}_integers", p.parameter),
    });
    let args: Vec<String> = args.chain(["arena".to_string()]).collect();
    statement(&format!("{name}_run({});", args.join(", ")))
}

/// A statement of a function's body, without the last line break.
fn statement(text: &str) -> String {
    let mut out = String::new();
    wrap::line(&mut out, 4, text);
    out.trim_end().to_string()
}

fn includes<'a>(target: &'a Target, code: &str) -> Vec<&'a str> {
    let needed = |beginnings: &[String]| {
        identifiers(code).any(|word| beginnings.iter().any(|b| word.starts_with(b.as_str())))
    };
    let includes = target.c.includes.iter().filter(|(_, b)| needed(b));
    includes.map(|(name, _)| name.as_str()).collect()
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

/// A text that stays within a line comment.
fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
        .replace('\\', "/")
        .replace("??", "?")
}

fn constant(constant: &Constant, target: &Target) -> String {
    let spelling = spelling(target, None, &[]);
    let ty = spelling.scalar(constant.elem);
    let aligned = if target.align > 8 { "ALIGNED " } else { "" };
    let reals = ty == "float";
    let value = literal::constant(constant.elem, &constant.bytes, reals, Language::C);
    // A string begins on a line of its own.
    let space = if value.starts_with('\n') { "" } else { " " };
    format!(
        "static {aligned}{}{ty} {}[] ={space}{value};",
        qualified(target),
        constant.name
    )
}

fn spelling<'a>(
    target: &'a Target,
    kernel: Option<&'a Kernel>,
    constants: &'a [Constant],
) -> Spelling<'a> {
    let buffers = kernel.iter().flat_map(|k| &k.buffers);
    let buffers = buffers.map(|b| (b.name.as_str(), (b.elem, false)));
    let constants = constants.iter().map(|c| (c.name.as_str(), (c.elem, true)));
    Spelling {
        target,
        language: Language::C,
        // A buffer hides a constant of the same name.
        buffers: constants.chain(buffers).collect(),
    }
}

fn kernel(kernel: &Kernel, name: &str, program: &Program, target: &Target) -> String {
    let spelling = spelling(target, Some(kernel), &program.constants);
    let restrict = if runs_in_place(program, kernel) {
        ""
    } else {
        "restrict "
    };
    let buffers = kernel.buffers.iter().map(|b| {
        let constant = if b.mutable { "" } else { "const " };
        let ty = spelling.scalar(b.elem);
        format!("{constant}{ty} *{restrict}{}", b.name)
    });
    let part = ["size_t part".to_string(), "size_t parts".to_string()];
    let part = part.into_iter().filter(|_| kernel.in_parts());
    let params: Vec<String> = buffers.chain(part).collect();
    let params = if params.is_empty() {
        "void".to_string()
    } else {
        params.join(", ")
    };
    let mut out = String::new();
    for text in kernel.comment.iter().flat_map(|line| wrap::words(line, 96)) {
        out += format!("// {}", comment(&text)).trim_end();
        out.push('\n');
    }
    wrap::line(&mut out, 0, &format!("static void {name}({params}) {{"));
    block(&mut out, 4, &simplified(kernel).body, &spelling);
    out + "}"
}

fn block(out: &mut String, indent: usize, body: &[Stmt], spelling: &Spelling) {
    for stmt in body {
        match stmt {
            Stmt::Let {
                name,
                ty,
                mutable,
                value,
            } => {
                let constant = if *mutable { "" } else { "const " };
                let (ty, value) = (spelling.ty(ty), spelling.expr(value));
                wrap::line(out, indent, &format!("{constant}{ty} {name} = {value};"));
            }
            Stmt::Set { name, value } => {
                wrap::line(out, indent, &format!("{name} = {};", spelling.expr(value)));
            }
            Stmt::Do(value) => wrap::line(out, indent, &format!("{};", spelling.expr(value))),
            Stmt::Note(text) => {
                for text in wrap::words(text, 93 - indent) {
                    let text = format!("// {}", comment(&text));
                    out.push_str(&format!("{:indent$}{text}\n", ""));
                }
            }
            Stmt::For {
                var,
                start,
                end,
                step,
                body,
            } => {
                let next = match step {
                    1 => format!("{var}++"),
                    step => format!("{var} += {step}"),
                };
                let (start, end) = (spelling.expr(start), spelling.expr(end));
                let head = format!("for (size_t {var} = {start}; {var} < {end}; {next}) {{");
                wrap::line(out, indent, &head);
                block(out, indent + 4, body, spelling);
                wrap::line(out, indent, "}");
            }
        }
    }
}

/// The lines of each call in `run`, or in `run_parallel` where there is one.
fn calls(program: &Program, names: &[String], target: &Target, header: &Header) -> Vec<String> {
    let calls = program.calls.iter().enumerate().map(|(index, made)| {
        let mut out = String::new();
        if program.kernels[made.kernel].in_parts() {
            let share = format!("share(&run, {index}, parallel_for, context);");
            wrap::line(&mut out, 4, &share);
        } else {
            wrap::line(&mut out, 4, &call(made, names, program, target, ""));
        }
        if header.trace {
            wrap::line(&mut out, 4, &format!("{}_trace({index});", program.name));
        }
        out.trim_end().to_string()
    });
    calls.collect()
}

/// The cases of `run_part`: each call that runs in parts.
fn parts(program: &Program, names: &[String], target: &Target) -> Vec<String> {
    let calls = program.calls.iter().enumerate();
    let calls = calls.filter(|(_, call)| program.kernels[call.kernel].in_parts());
    let cases = calls.map(|(index, made)| {
        let mut out = String::new();
        wrap::line(&mut out, 4, &format!("case {index}:"));
        wrap::line(&mut out, 8, &call(made, names, program, target, "run->"));
        wrap::line(&mut out, 8, "break;");
        out.trim_end().to_string()
    });
    cases.collect()
}

/// A call whose ports and arena are variables that begin with `prefix`.
fn call(call: &Call, names: &[String], program: &Program, target: &Target, prefix: &str) -> String {
    let spelling = spelling(target, None, &[]);
    let (inputs, outputs) = describe(program);
    let kernel = &program.kernels[call.kernel];
    let arg = |(slot, buffer): (&Slot, &crate::kernel::Buffer)| {
        let (base, scalar, offset) = place(*slot, &inputs, &outputs);
        let address = match offset {
            0 => format!("{prefix}{base}"),
            offset => format!("{prefix}{base} + {offset}"),
        };
        let constant = if buffer.mutable { "" } else { "const " };
        let ty = spelling.scalar(buffer.elem);
        match (c_type(scalar) == ty, offset) {
            (true, _) => address,
            (false, 0) => format!("({constant}{ty} *){address}"),
            (false, _) => format!("({constant}{ty} *)({address})"),
        }
    };
    let mut args: Vec<String> = call.args.iter().zip(&kernel.buffers).map(arg).collect();
    if kernel.in_parts() {
        args.extend(["part".to_string(), format!("{prefix}parts")]);
    }
    format!("{}({});", names[call.kernel], args.join(", "))
}
