//! `run_f32`: the network on reals.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::frame::{exists, number, parameters};
use crate::backend::port::{Described, describe};
use crate::kernel::Program;
use crate::target::Target;

/// `run_f32`, with memory for the integers of the ports beside the arena.
pub(super) fn run_f32(program: &Program, target: &Target) -> TokenStream {
    let (inputs, outputs) = describe(program);
    let all = || inputs.iter().chain(&outputs);
    let ports = || all().filter(|p| !p.real);
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
    let quantized = inputs.iter().filter(|p| !p.real).map(quantized);
    let dequantized = outputs.iter().filter(|p| !p.real).map(dequantized);
    let passed = all().enumerate().map(|(i, p)| {
        let name = format_ident!("{}", p.parameter);
        match (p.real, i < inputs.len()) {
            (true, _) => quote!(#name),
            (false, true) => quote!(&arena.#name),
            (false, false) => quote!(&mut arena.#name),
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
