//! From arguments to a module for each machine.

use std::path::{Path, PathBuf};

use proc_macro2::{Ident, Span, TokenStream};
use qcc_compiler::backend::Header;
use qcc_compiler::data::{InputRange, Samples, state_ranges};
use qcc_compiler::ir::{Elem, Model, Numerics};
use qcc_compiler::kernel::{Port, identifier};
use qcc_compiler::passes::calibrate::{Method, Ranges};
use qcc_compiler::passes::quantize;
use qcc_compiler::pipeline::{self, Source};
use qcc_compiler::target::{self, Language, Target};
use qcc_compiler::{lower, onnx};
use quote::{format_ident, quote};

use crate::arguments::{Arguments, error, resolve};

/// The module, once for each machine and under the condition that the crate is built for it.
pub(crate) fn expand(arguments: &Arguments) -> syn::Result<TokenStream> {
    let path = resolve(&arguments.model)?;
    let samples = arguments.calibrate.iter().map(resolve);
    let samples: Vec<PathBuf> = samples.collect::<syn::Result<_>>()?;
    let ranges = arguments.ranges.as_ref().map(resolve).transpose()?;
    let model = integer_model(arguments, &path, &samples, ranges.as_deref())?;
    let name = module_name(arguments, &path)?;
    let docs = format!(
        "The network `{}`, as integer kernels made by qcc.",
        arguments.model.value()
    );
    let given: Vec<PathBuf> = samples.into_iter().chain(ranges).collect();
    let watched = watched(&path, &given);
    let mut tokens = TokenStream::new();
    for (target, condition) in machines(arguments)? {
        let items = items(arguments, &model, &target, &path)?;
        tokens.extend(quote! {
            #condition
            #[doc = #docs]
            #[allow(non_snake_case, dead_code)]
            pub mod #name {
                #items
                #(const _: &[u8] = include_bytes!(#watched);)*
            }
        });
    }
    Ok(tokens)
}

/// Calibrated and quantized once, for all machines.
fn integer_model(
    arguments: &Arguments,
    path: &Path,
    samples: &[PathBuf],
    ranges: Option<&Path>,
) -> syn::Result<Model> {
    let at_model = |e| error(arguments.model.span(), &e);
    let options = onnx::Options {
        batch: arguments.batch,
        numerics: arguments.numerics,
        ..onnx::Options::default()
    };
    let mut model = pipeline::load(path, &options).map_err(at_model)?;
    let options = arguments.precision.options(arguments.signed);
    let options = options.map_err(at_model)?;
    options.check(&model).map_err(at_model)?;
    state_ranges(&mut model, &arguments.input_range).map_err(at_model)?;
    match arguments.calibrate.first() {
        _ if ranges.is_some() => annotate(arguments, &mut model, ranges)?,
        None => without_samples(arguments, &options, &mut model).map_err(at_model)?,
        Some(first) => {
            let open = |model: &Model| Samples::open(samples, model, &arguments.data);
            pipeline::calibrate(&mut model, open, Method::MinMax, &options)
                .map_err(|e| error(first.span(), &e))?;
        }
    }
    pipeline::quantize(model, &options).map_err(at_model)
}

/// Ranges from a file.
fn annotate(arguments: &Arguments, model: &mut Model, ranges: Option<&Path>) -> syn::Result<()> {
    let (Some(literal), Some(path)) = (&arguments.ranges, ranges) else {
        return Ok(());
    };
    if let Some(samples) = arguments.calibrate.first() {
        let message = "ranges take the place of samples; pass one of both";
        return Err(syn::Error::new(samples.span(), message));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|e| syn::Error::new(literal.span(), format!("the file cannot be read: {e}")))?;
    Ranges::read(&text)
        .and_then(|ranges| ranges.annotate(model))
        .map_err(|e| error(literal.span(), &e))
}

/// Ranges from those of the inputs, stated or told by a preset for pixels, and from batch normalization.
fn without_samples(
    arguments: &Arguments,
    precision: &quantize::Options,
    model: &mut Model,
) -> qcc_compiler::Result<()> {
    if let (Some(range), []) = (
        arguments.data.preprocess.range(),
        &arguments.input_range[..],
    ) {
        let input = None;
        state_ranges(model, &[InputRange { input, range }])?;
    }
    pipeline::calibrate_without_samples(model, precision)
}

/// Every machine with the condition that it is the best one for the crate's build.
fn machines(arguments: &Arguments) -> syn::Result<Vec<(Target, TokenStream)>> {
    let mut targets = vec![];
    for name in target::names() {
        targets.push(Target::load(name).map_err(|e| error(arguments.model.span(), &e))?);
    }
    // rustc does not tell microcontrollers apart.
    targets.retain(|t| !t.is_freestanding() && t.languages.contains(&Language::Rust));
    // The more a machine demands, the better it is.
    targets.sort_by_key(|t| std::cmp::Reverse(t.rust.features.len()));
    let mut better: Vec<TokenStream> = vec![];
    let mut machines = vec![];
    for target in targets {
        let own = demands(&target);
        let condition = quote!(#[cfg(all(#own, not(any(#(#better),*))))]);
        better.push(own);
        machines.push((target, condition));
    }
    Ok(machines)
}

/// What a build must have for a machine's kernels; a machine's name begins with its architecture.
fn demands(target: &Target) -> TokenStream {
    let features = &target.rust.features;
    if features.is_empty() {
        return quote!(all());
    }
    let arch = target.name.split('-').next().unwrap_or_default();
    quote!(all(target_arch = #arch #(, target_feature = #features)*))
}

/// The emitted file's items.
fn items(
    arguments: &Arguments,
    model: &Model,
    target: &Target,
    path: &Path,
) -> syn::Result<TokenStream> {
    let at_model = |e| error(arguments.model.span(), &e);
    let options = lower::Options {
        threads: arguments.threads,
        ..lower::Options::default()
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let program = pipeline::lower(model, target, &options, &stem).map_err(at_model)?;
    let header = Header {
        model: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        options: match arguments.numerics {
            Numerics::Onnx => format!("--target {}", target.name),
            other => format!("--target {} --numerics {other}", target.name),
        },
        version: env!("CARGO_PKG_VERSION").to_string(),
        trace: false,
        thread_pool: arguments.thread_pool,
    };
    let Source::Rust(text) = pipeline::print(&program, target, Language::Rust, &header) else {
        unreachable!("Rust was asked for");
    };
    let file: TokenStream = text
        .parse()
        .map_err(|e| syn::Error::new(arguments.model.span(), format!("emitted source: {e}")))?;
    let inputs = port_types("Input", &program.inputs);
    let outputs = port_types("Output", &program.outputs);
    Ok(quote!(#file #inputs #outputs))
}

/// Names for what `run` takes: `Input`, or `Input0`, `Input1` and so on where there are several.
fn port_types(kind: &str, ports: &[Port]) -> TokenStream {
    let alias = |(i, port): (usize, &Port)| {
        let number = if ports.len() > 1 {
            i.to_string()
        } else {
            String::new()
        };
        let name = format_ident!("{kind}{number}");
        let elem = format_ident!("{}", format!("{:?}", port.scalar).to_lowercase());
        let len = port.ty.len();
        let meaning = match &port.ty.elem {
            Elem::Quantized(params) => {
                let (scale, zero_point) = params.uniform();
                format!("an integer `i` stands for the real `{scale:?} * (i - {zero_point})`")
            }
            _ => "plain integers".to_string(),
        };
        let docs = format!(
            "Tensor `{}` of shape {:?}, row-major; {meaning}.",
            port.name, port.ty.shape
        );
        quote! {
            #[doc = #docs]
            pub type #name = [#elem; #len];
        }
    };
    ports.iter().enumerate().map(alias).collect()
}

fn module_name(arguments: &Arguments, path: &Path) -> syn::Result<Ident> {
    if let Some(name) = &arguments.name {
        return Ok(name.clone());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = identifier(&stem, "model");
    syn::parse_str::<Ident>(&name)
        .map(|_| Ident::new(&name, Span::call_site()))
        .map_err(|_| {
            let message = format!("`{name}` cannot be a module's name; pass name = ...");
            syn::Error::new(arguments.model.span(), message)
        })
}

/// The files whose change must rebuild the crate.
fn watched(model: &Path, samples: &[PathBuf]) -> Vec<String> {
    let mut files = vec![];
    // Exporters put large weights beside the model under this name.
    let weights = PathBuf::from(format!("{}.data", model.display()));
    for path in [model, &weights]
        .into_iter()
        .chain(samples.iter().map(PathBuf::as_path))
    {
        collect(path, &mut files);
    }
    files
}

fn collect(path: &Path, files: &mut Vec<String>) {
    if path.is_file() {
        files.extend(path.to_str().map(str::to_string));
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return;
    };
    let mut entries: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    entries.sort();
    for entry in entries {
        collect(&entry, files);
    }
}
