//! Descriptors, sizes, the arena and `run`.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use crate::backend::port::{Described, describe, place, unused};
use crate::backend::{Header, flash_bytes, macs};
use crate::kernel::{Buffer, Call, Program, Scalar, Slot};
use crate::target::{Language, Target};

/// Descriptors, sizes and the arena.
pub(super) fn sizes(program: &Program, target: &Target) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let ports = inputs.iter().chain(&outputs).map(descriptor);
    let arena_bytes = Literal::usize_unsuffixed(program.arena_bytes);
    let flash_bytes = Literal::usize_unsuffixed(flash_bytes(program));
    let macs = Literal::u64_unsuffixed(macs(program));
    let align = Literal::usize_unsuffixed(target.align.max(program.align));
    quote! {
        /// An input or output: a dense row-major tensor.
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
    let doc = match (port.quantized, port.real) {
        (true, _) => format!(
            " Integers {}..={} that stand for reals.",
            port.low, port.high
        ),
        (_, true) => " Reals.".to_string(),
        _ => " Plain integers.".to_string(),
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

pub(super) fn number(scalar: Scalar) -> TokenStream {
    let name = format_ident!("{}", format!("{scalar:?}").to_lowercase());
    quote!(#name)
}

/// `input: &[u8; 64], output: &mut [u8; 10], arena: &mut Arena`, with the elements that `ty` says.
pub(super) fn parameters(
    program: &Program,
    ty: fn(&Described) -> TokenStream,
    arena: &str,
) -> TokenStream {
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

/// The names of `parameters`.
pub(super) fn arguments(program: &Program) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let ports = inputs.iter().chain(&outputs);
    let names = ports.map(|p| format_ident!("{}", p.parameter));
    quote!(#(#names,)* arena)
}

/// `run`, and `run_unchecked` where the machine must have features that not each of its kind has.
pub(super) fn run(
    program: &Program,
    names: &[String],
    target: &Target,
    header: &Header,
) -> TokenStream {
    let parameters = parameters(program, |p| number(p.scalar), "Arena");
    let features = &target.rust.features;
    let arguments = arguments(program);
    let list = features.join(",");
    let enable = (!features.is_empty()).then(|| quote!(#[target_feature(enable = #list)]));
    let mut body = calls(program, names, target, header);
    let mut evaluate = None;
    // Where threads may share layers, all entries have one list of calls.
    if program.threads > 0 {
        let qualifier = enable.as_ref().map(|_| quote!(unsafe));
        evaluate = Some(quote! {
            /// Evaluates the network, with the help of threads where they are given.
            #enable
            #qualifier fn evaluate(#parameters, threads: Option<&dyn Threads>) {
                #body
            }
        });
        body = match features.is_empty() {
            true => quote!(evaluate(#arguments, None);),
            false => quote! {
                note!("SAFETY: the caller's processor has the features.");
                unsafe { evaluate(#arguments, None) }
            },
        };
    }
    if features.is_empty() {
        return quote! {
            /// Evaluates the network.
            pub fn run(#parameters) {
                #body
            }
            #evaluate
        };
    }
    let exists = exists(features);
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
        #enable
        pub unsafe fn run_unchecked(#parameters) {
            #body
        }
        #evaluate
    }
}

/// The condition that a crate is compiled for processors with the features; none where there are none.
pub(super) fn exists(features: &[String]) -> Option<TokenStream> {
    match features {
        [] => None,
        [feature] => Some(quote!(#[cfg(target_feature = #feature)])),
        _ => Some(quote!(#[cfg(all(#(target_feature = #features),*))])),
    }
}

fn calls(program: &Program, names: &[String], target: &Target, header: &Header) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let in_parts = program.kernels.iter().any(|kernel| kernel.in_parts());
    let unused = unused(program).into_iter().filter(|_| !in_parts);
    let unused: Vec<String> = unused.map(|p| p.parameter).collect();
    let pointer = |p: &Described, pointer: TokenStream| {
        let name = format_ident!("{}", p.parameter);
        match unused.contains(&p.parameter) {
            true => quote!(let _ = #name;),
            false => quote!(let #name = #name.#pointer();),
        }
    };
    let input = inputs.iter().map(|p| pointer(p, quote!(as_ptr)));
    let output = outputs.iter().map(|p| pointer(p, quote!(as_mut_ptr)));
    let mut slots = program.calls.iter().flat_map(|c| &c.args);
    let memory = match in_parts || slots.any(|s| matches!(s, Slot::Arena(_))) {
        true => quote!(let memory = arena.0.as_mut_ptr();),
        false => quote!(let _ = arena;),
    };
    let calls = program.calls.iter().enumerate().map(|(i, c)| {
        let number = Literal::usize_unsuffixed(i);
        let call = match program.kernels[c.kernel].in_parts() {
            true => quote!(share(&run, #number, threads)),
            false => call(c, &names[c.kernel], program, target, &quote!()),
        };
        let trace = header.trace.then(|| quote!(super::trace(#number);));
        quote!(#call; #trace)
    });
    let run = match (program.threads, in_parts) {
        (0, _) => None,
        (_, false) => Some(quote!(let _ = threads;)),
        (_, true) => {
            let ports = inputs.iter().chain(&outputs);
            let names = ports.map(|p| format_ident!("{}", p.parameter));
            Some(quote!(let run = Run { #(#names,)* memory };))
        }
    };
    quote! {
        #(#input)*
        #(#output)*
        #memory
        #run
        note!("SAFETY: each tensor lies within its port or the arena, as planned when the file was made.");
        unsafe {
            #(#calls)*
        }
    }
}

/// A call whose ports and arena are variables after `prefix`.
pub(super) fn call(
    call: &Call,
    name: &str,
    program: &Program,
    target: &Target,
    prefix: &TokenStream,
) -> TokenStream {
    let (inputs, outputs) = describe(program);
    // A machine without floating point reads the bits of reals.
    let bits = target.ty("f32", Language::Rust) != Some("f32");
    let kernel = &program.kernels[call.kernel];
    let name = format_ident!("{name}");
    let arg = |(slot, buffer): (&Slot, &Buffer)| {
        let (base, scalar, offset) = place(*slot, &inputs, &outputs);
        let base = format_ident!("{base}");
        let number = Literal::usize_unsuffixed(offset);
        let add = (offset > 0).then(|| quote!(.add(#number)));
        let port = !matches!(slot, Slot::Arena(_));
        let differs = scalar != buffer.elem || (port && bits && scalar == Scalar::F32);
        let cast = differs.then(|| quote!(.cast()));
        quote!(#prefix #base #add #cast)
    };
    let args = call.args.iter().zip(&kernel.buffers).map(arg);
    let part = kernel.in_parts().then(|| [quote!(part), quote!(parts)]);
    let args = args.chain(part.into_iter().flatten());
    quote!(#name(#(#args),*))
}
