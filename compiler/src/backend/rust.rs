//! Prints a program as Rust: a `no_std` module of one file.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::port::{Described, describe};
use super::row::Spelling;
use super::{Header, flash_bytes, function_names, literal, macs, operations, unique};
use crate::kernel::{Buffer, Call, Expr, Kernel, Program, Scalar, Slot, Stmt, simplified};
use crate::target::{Language, Target, identifiers};

/// The text of a program.
pub fn print(program: &Program, target: &Target, header: &Header) -> String {
    let statics = statics(program);
    let names = function_names(program, target);
    let kernels = program.kernels.iter().zip(&names);
    let kernels: Vec<String> = kernels
        .map(|(k, name)| kernel(k, name, program, &statics, target))
        .collect();
    let snippets = target.snippets(operations(program), Language::Rust);
    let code = kernels.concat() + &snippets.concat();
    let mut sections = vec![opening(program, target, header)];
    sections.extend(uses(target, &code));
    sections.push(layout(frame(program, target)));
    sections.push(layout(run(program, &names, target, header)));
    sections.push(layout(run_f32(program, target)));
    sections.extend(kernels);
    sections.extend(snippets.iter().map(|s| format!("{s}\n")));
    if target.align > 8 && !program.constants.is_empty() {
        sections.push(layout(aligned(target.align)));
    }
    sections.extend(constants(program, &statics, target));
    sections.join("\n")
}

/// The comment that a file begins with; not documentation, so that the file can be included anywhere.
fn opening(program: &Program, target: &Target, header: &Header) -> String {
    let mut lines = vec![format!(
        "{}: integer kernels for {}, made by qcc {}.",
        program.name, target.name, header.version
    )];
    lines.push(format!("Model: {}", header.model));
    if !header.options.is_empty() {
        lines.push(format!("Options: {}", header.options));
    }
    let lines = lines.iter().map(|l| format!("// {}\n", one_line(l)));
    lines.collect()
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn uses(target: &Target, code: &str) -> Vec<String> {
    let needed = |beginnings: &[String]| {
        identifiers(code).any(|word| beginnings.iter().any(|b| word.starts_with(b.as_str())))
    };
    let uses = target.rust.uses.iter().filter(|(_, b)| needed(b));
    let lines: String = uses.map(|(path, _)| format!("use {path};\n")).collect();
    if lines.is_empty() {
        vec![]
    } else {
        vec![lines]
    }
}

/// Items as rustfmt would lay them out; `note!("...")` becomes a comment.
fn layout(items: TokenStream) -> String {
    let text = items.to_string();
    let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("not Rust: {e}\n{text}"));
    let items = file.items.into_iter().map(|item| {
        let file = syn::File {
            shebang: None,
            frontmatter: None,
            attrs: vec![],
            items: vec![item],
        };
        comments(&prettyplease::unparse(&file))
    });
    items.collect::<Vec<_>>().join("\n")
}

fn comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        let Some(rest) = code.strip_prefix("note!(") else {
            out += line;
            out.push('\n');
            continue;
        };
        // A long note is laid out on three lines.
        let quoted = match rest.strip_suffix(");") {
            Some(quoted) => quoted,
            None => {
                let quoted = lines.next().expect("a note has a text");
                lines.next();
                quoted
            }
        };
        let text: syn::LitStr = syn::parse_str(quoted).expect("a note is a string");
        let indent = &line[..line.len() - code.len()];
        for line in wrapped(&one_line(&text.value()), 93 - indent.len()) {
            out += &format!("{indent}// {line}\n");
        }
    }
    out
}

/// A text in lines of at most `width` columns, where its words allow it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_string());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Descriptors, sizes and the arena.
fn frame(program: &Program, target: &Target) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let ports = inputs.iter().chain(&outputs).map(descriptor);
    let arena_bytes = Literal::usize_unsuffixed(program.arena_bytes);
    let flash_bytes = Literal::usize_unsuffixed(flash_bytes(program));
    let macs = Literal::u64_unsuffixed(macs(program));
    let align = Literal::usize_unsuffixed(target.align.max(program.align));
    quote! {
        /// An input or output: a dense row-major tensor of integers.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Port {
            /// The tensor's name in the model.
            pub name: &'static str,
            /// Extent of each axis.
            pub shape: &'static [usize],
            /// `real = scale * (integer - zero_point)`.
            pub scale: f32,
            /// The integer that stands for 0.0.
            pub zero_point: i32,
        }
        #(#ports)*
        /// Bytes of scratch memory.
        pub const ARENA_BYTES: usize = #arena_bytes;
        /// Bytes of constants; the code comes on top.
        pub const FLASH_BYTES: usize = #flash_bytes;
        /// Multiply-accumulates of one run.
        pub const MACS: u64 = #macs;
        /// Scratch memory of one run; nothing in it outlives the run.
        #[repr(C, align(#align))]
        pub struct Arena([u8; ARENA_BYTES]);
        impl Arena {
            /// Memory for any number of runs, one after the other.
            pub const fn new() -> Arena {
                Arena([0; ARENA_BYTES])
            }
        }
        impl Default for Arena {
            fn default() -> Arena {
                Arena::new()
            }
        }
    }
}

fn descriptor(port: &Described) -> TokenStream {
    let name = format_ident!("{}", port.parameter.to_uppercase());
    let doc = match port.quantized {
        true => format!(
            " Integers {}..={} that stand for reals.",
            port.low, port.high
        ),
        false => " Plain integers.".to_string(),
    };
    let Described {
        name: tensor,
        scale,
        zero_point,
        ..
    } = port;
    let shape = port.shape.iter().map(|n| Literal::usize_unsuffixed(*n));
    let scale = Literal::f32_unsuffixed(*scale);
    let zero_point = Literal::i32_unsuffixed(*zero_point);
    quote! {
        #[doc = #doc]
        pub const #name: Port = Port {
            name: #tensor,
            shape: &[#(#shape),*],
            scale: #scale,
            zero_point: #zero_point,
        };
    }
}

fn number(scalar: Scalar) -> TokenStream {
    let name = format_ident!("{}", format!("{scalar:?}").to_lowercase());
    quote!(#name)
}

/// `input: &[u8; 64], output: &mut [u8; 10], arena: &mut Arena`, with the elements that `ty` says.
fn parameters(program: &Program, ty: fn(&Described) -> TokenStream, arena: &str) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let param = |p: &Described, reference: TokenStream| {
        let (name, ty) = (format_ident!("{}", p.parameter), ty(p));
        let len = Literal::usize_unsuffixed(p.len);
        quote!(#name: #reference [#ty; #len])
    };
    let inputs = inputs.iter().map(|p| param(p, quote!(&)));
    let outputs = outputs.iter().map(|p| param(p, quote!(&mut)));
    let arena = format_ident!("{arena}");
    quote!(#(#inputs,)* #(#outputs,)* arena: &mut #arena)
}

fn arguments(program: &Program) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let ports = inputs.iter().chain(&outputs);
    let names = ports.map(|p| format_ident!("{}", p.parameter));
    quote!(#(#names,)* arena)
}

/// `run`, and `run_unchecked` where the machine must have features that not each of its kind has.
fn run(program: &Program, names: &[String], target: &Target, header: &Header) -> TokenStream {
    let parameters = parameters(program, |p| number(p.scalar), "Arena");
    let calls = calls(program, names, header);
    let features = &target.rust.features;
    if features.is_empty() {
        return quote! {
            /// Evaluates the network.
            pub fn run(#parameters) {
                #calls
            }
        };
    }
    let arguments = arguments(program);
    let exists = exists(features);
    let list = features.join(",");
    let safety = format!(
        " The processor has these features: {}.",
        features.join(", ")
    );
    let proof = format!(
        "SAFETY: the crate is compiled for processors with {}.",
        features.join(", ")
    );
    quote! {
        /// Evaluates the network.
        ///
        /// It exists in crates that are compiled for processors with the features that the kernels use;
        /// other crates ask the processor, then call [`run_unchecked`].
        #exists
        pub fn run(#parameters) {
            note!(#proof);
            unsafe { run_unchecked(#arguments) }
        }
        /// Evaluates the network on a processor that the caller has asked for its features.
        ///
        /// # Safety
        ///
        #[doc = #safety]
        #[target_feature(enable = #list)]
        pub unsafe fn run_unchecked(#parameters) {
            #calls
        }
    }
}

/// The condition that a crate is compiled for processors with the features; none where there are none.
fn exists(features: &[String]) -> Option<TokenStream> {
    match features {
        [] => None,
        [feature] => Some(quote!(#[cfg(target_feature = #feature)])),
        _ => Some(quote!(#[cfg(all(#(target_feature = #features),*))])),
    }
}

fn calls(program: &Program, names: &[String], header: &Header) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let given: Vec<Slot> = program.calls.iter().flat_map(|c| c.args.clone()).collect();
    let reads = |i| {
        given
            .iter()
            .any(|s| matches!(s, Slot::Input(j, _) if *j == i))
    };
    let writes = |i| {
        given
            .iter()
            .any(|s| matches!(s, Slot::Output(j, _) if *j == i))
    };
    let input = inputs.iter().enumerate().map(|(i, p)| {
        let name = format_ident!("{}", p.parameter);
        if reads(i) {
            quote!(let #name = #name.as_ptr();)
        } else {
            quote!(let _ = #name;)
        }
    });
    let output = outputs.iter().enumerate().map(|(i, p)| {
        let name = format_ident!("{}", p.parameter);
        if writes(i) {
            quote!(let #name = #name.as_mut_ptr();)
        } else {
            quote!(let _ = #name;)
        }
    });
    let memory = match given.iter().any(|s| matches!(s, Slot::Arena(_))) {
        true => quote!(let memory = arena.0.as_mut_ptr();),
        false => quote!(let _ = arena;),
    };
    let calls = program.calls.iter().enumerate().map(|(i, c)| {
        let call = call(c, &names[c.kernel], program, &inputs, &outputs);
        let trace = header.trace.then(|| {
            let i = Literal::usize_unsuffixed(i);
            quote!(super::trace(#i);)
        });
        quote!(#call #trace)
    });
    quote! {
        #(#input)*
        #(#output)*
        #memory
        note!("SAFETY: each tensor lies within its port or the arena, as planned when the file was made.");
        unsafe {
            #(#calls)*
        }
    }
}

fn call(
    call: &Call,
    name: &str,
    program: &Program,
    inputs: &[Described],
    outputs: &[Described],
) -> TokenStream {
    let kernel = &program.kernels[call.kernel];
    let name = format_ident!("{name}");
    let arg = |(slot, buffer): (&Slot, &Buffer)| {
        let (base, scalar, offset) = match slot {
            Slot::Arena(offset) => ("memory", Scalar::U8, *offset),
            Slot::Input(i, offset) => (inputs[*i].parameter.as_str(), inputs[*i].scalar, *offset),
            Slot::Output(i, offset) => {
                (outputs[*i].parameter.as_str(), outputs[*i].scalar, *offset)
            }
        };
        let base = format_ident!("{base}");
        let number = Literal::usize_unsuffixed(offset);
        let add = (offset > 0).then(|| quote!(.add(#number)));
        let cast = (scalar != buffer.elem).then(|| quote!(.cast()));
        quote!(#base #add #cast)
    };
    let args = call.args.iter().zip(&kernel.buffers).map(arg);
    quote!(#name(#(#args),*);)
}

/// `run_f32`, with memory for the integers of the ports beside the arena.
fn run_f32(program: &Program, target: &Target) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let ports = || inputs.iter().chain(&outputs);
    let parameters = parameters(program, |_| quote!(f32), "ArenaF32");
    let names: Vec<_> = ports().map(|p| format_ident!("{}", p.parameter)).collect();
    let types: Vec<_> = ports()
        .map(|p| {
            let (ty, len) = (number(p.scalar), Literal::usize_unsuffixed(p.len));
            quote!([#ty; #len])
        })
        .collect();
    let zeros = ports().map(|p| {
        let len = Literal::usize_unsuffixed(p.len);
        quote!([0; #len])
    });
    let features = &target.rust.features;
    let exists = exists(features);
    let quantized = inputs.iter().map(quantized);
    let dequantized = outputs.iter().map(dequantized);
    let passed = ports().enumerate().map(|(i, p)| {
        let name = format_ident!("{}", p.parameter);
        if i < inputs.len() {
            quote!(&arena.#name)
        } else {
            quote!(&mut arena.#name)
        }
    });
    let quantize = inputs
        .iter()
        .any(|p| p.quantized)
        .then(|| quantize(&exists));
    quote! {
        /// Scratch memory of [`run_f32`]: the arena, and the integers of inputs and outputs.
        pub struct ArenaF32 {
            arena: Arena,
            #(#names: #types,)*
        }
        impl ArenaF32 {
            /// Memory for any number of runs, one after the other.
            pub const fn new() -> ArenaF32 {
                ArenaF32 { arena: Arena::new(), #(#names: #zeros,)* }
            }
        }
        impl Default for ArenaF32 {
            fn default() -> ArenaF32 {
                ArenaF32::new()
            }
        }
        /// Evaluates the network on reals: quantizes the inputs and dequantizes the outputs.
        #exists
        pub fn run_f32(#parameters) {
            #(#quantized)*
            run(#(#passed,)* &mut arena.arena);
            #(#dequantized)*
        }
        #quantize
    }
}

fn quantized(port: &Described) -> TokenStream {
    let (name, ty) = (format_ident!("{}", port.parameter), number(port.scalar));
    let constant = format_ident!("{}", port.parameter.to_uppercase());
    let (low, high) = (
        Literal::i64_unsuffixed(port.low),
        Literal::i64_unsuffixed(port.high),
    );
    let value = match port.quantized {
        true => quote!(quantize(*real, &#constant, #low, #high) as #ty),
        false => quote!(*real as #ty),
    };
    quote! {
        for (integer, real) in arena.#name.iter_mut().zip(#name) {
            *integer = #value;
        }
    }
}

fn dequantized(port: &Described) -> TokenStream {
    let name = format_ident!("{}", port.parameter);
    let constant = format_ident!("{}", port.parameter.to_uppercase());
    let value = match port.quantized {
        true => quote!((i32::from(*integer) - #constant.zero_point) as f32 * #constant.scale),
        false => quote!(*integer as f32),
    };
    quote! {
        for (real, integer) in #name.iter_mut().zip(&arena.#name) {
            *real = #value;
        }
    }
}

/// `QuantParams::quantize` without the standard library.
fn quantize(exists: &Option<TokenStream>) -> TokenStream {
    quote! {
        /// The integer nearest to `real / scale`, ties to even, plus the zero point, saturated.
        #exists
        fn quantize(real: f32, port: &Port, low: i32, high: i32) -> i32 {
            let x = (real / port.scale).clamp(-1e6, 1e6);
            let whole = x as i32;
            let rest = x - whole as f32;
            let odd = whole % 2 != 0;
            let nearest = if rest > 0.5 || (rest == 0.5 && odd) {
                whole + 1
            } else if rest < -0.5 || (rest == -0.5 && odd) {
                whole - 1
            } else {
                whole
            };
            (nearest + port.zero_point).clamp(low, high)
        }
    }
}

/// The statics that hold a program's constants.
fn statics(program: &Program) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for constant in &program.constants {
        names.push(unique(constant.name.to_uppercase(), &names));
    }
    names
}

fn aligned(align: usize) -> TokenStream {
    let align = Literal::usize_unsuffixed(align);
    let doc = format!(" Constants at multiples of {align} bytes.");
    quote! {
        #[doc = #doc]
        #[repr(C, align(#align))]
        struct Aligned<T>(T);
    }
}

fn constants(program: &Program, statics: &[String], target: &Target) -> Vec<String> {
    let real = target.ty("f32", Language::Rust) == Some("f32");
    let constants = program.constants.iter().zip(statics);
    let text = constants.map(|(constant, name)| {
        let value = literal::constant(constant.elem, &constant.bytes, real, Language::Rust);
        let len = constant.bytes.len() / constant.elem.bytes();
        let ty = match constant.elem {
            Scalar::I8 | Scalar::U8 => "u8".to_string(),
            Scalar::F32 if !real => "u32".to_string(),
            elem => format!("{elem:?}").to_lowercase(),
        };
        match target.align > 8 {
            true => format!("static {name}: Aligned<[{ty}; {len}]> = Aligned({value});\n"),
            false => format!("static {name}: [{ty}; {len}] = {value};\n"),
        }
    });
    text.collect()
}

fn kernel(
    kernel: &Kernel,
    name: &str,
    program: &Program,
    statics: &[String],
    target: &Target,
) -> String {
    let constants = program.constants.iter().zip(statics);
    let constants: Vec<_> = constants
        .filter(|(c, _)| kernel.constants.contains(&c.name))
        .collect();
    let buffers = kernel
        .buffers
        .iter()
        .map(|b| (b.name.as_str(), (b.elem, b.mutable)));
    let read = constants
        .iter()
        .map(|(c, _)| (c.name.as_str(), (c.elem, false)));
    let spelling = Spelling {
        target,
        language: Language::Rust,
        buffers: read.chain(buffers).collect(),
    };
    let params: Vec<String> = kernel
        .buffers
        .iter()
        .map(|b| {
            let pointer = if b.mutable { "*mut" } else { "*const" };
            format!("{}: {pointer} {}", b.name, spelling.scalar(b.elem))
        })
        .collect();
    let mut text = String::new();
    for line in &kernel.comment {
        text += &format!("#[doc = {:?}]\n", format!(" {}", one_line(line)));
    }
    if !target.rust.features.is_empty() {
        text += &format!(
            "#[target_feature(enable = {:?})]\n",
            target.rust.features.join(",")
        );
    }
    // Many small tensors make many buffers; a kernel's signature is not for people to call.
    if params.len() > 7 {
        text += "#[allow(clippy::too_many_arguments)]\n";
    }
    text += &format!("unsafe fn {name}({}) {{", params.join(", "));
    for (constant, name) in constants {
        text += &pointer(&constant.name, constant.elem, name, &spelling);
    }
    text += "note!(\"SAFETY: the caller's buffers hold every element that is named here.\");";
    text += "unsafe {";
    block(&mut text, &simplified(kernel).body, &spelling);
    text += "}}";
    layout(
        text.parse()
            .unwrap_or_else(|e| panic!("{}: not Rust: {e}\n{text}", kernel.name)),
    )
}

/// A `let` of a constant's address, named as in the kernel.
fn pointer(name: &str, elem: Scalar, statik: &str, spelling: &Spelling) -> String {
    let array = match spelling.target.align > 8 {
        true => format!("{statik}.0"),
        false => statik.to_string(),
    };
    match elem {
        Scalar::I8 => format!("let {name} = {array}.as_ptr().cast::<i8>();"),
        _ => format!("let {name} = {array}.as_ptr();"),
    }
}

fn block(out: &mut String, body: &[Stmt], spelling: &Spelling) {
    for stmt in body {
        *out += &match stmt {
            Stmt::Let {
                name,
                mutable,
                value,
                ..
            } => {
                let mutable = if *mutable { "mut " } else { "" };
                format!("let {mutable}{name} = {};", spelling.expr(value))
            }
            Stmt::Set { name, value } => set(name, value, spelling),
            Stmt::Do(value) => format!("{};", spelling.expr(value)),
            Stmt::Note(text) => format!("note!({:?});", one_line(text)),
            Stmt::For {
                var,
                start,
                end,
                step,
                body,
            } => {
                let range = match step {
                    1 => format!("{start}..{end}"),
                    step => format!("({start}..{end}).step_by({step})"),
                };
                let mut text = format!("for {var} in {range} {{");
                block(&mut text, body, spelling);
                text + "}"
            }
        };
    }
}

/// `x += y` where a new value begins with the old one, as Clippy wants it.
fn set(name: &str, value: &Expr, spelling: &Spelling) -> String {
    let text = spelling.expr(value);
    match text
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(" + "))
    {
        Some(rest) => format!("{name} += {rest};"),
        None => format!("{name} = {text};"),
    }
}
