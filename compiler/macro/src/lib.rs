//! [`include_model!`]: an ONNX network as a Rust module of integer kernels.

mod arguments;
mod expand;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Compiles an ONNX network into a module of this crate.
///
/// ```ignore
/// qcc::include_model!("models/digits.onnx", calibrate = "models/digits.npz", name = Digits);
///
/// fn classify(image: &Digits::Input) -> Digits::Output {
///     let mut arena = Digits::Arena::new();
///     let mut scores = [0; 10];
///     Digits::run(image, &mut scores, &mut arena);
///     scores
/// }
/// ```
///
/// The module holds `run` on integers and `run_f32` on reals, `Input` and `Output` (numbered where there are
/// several), `Arena` and `ArenaF32`, the memory that a run takes, the descriptors `INPUT` and `OUTPUT` with
/// scale and zero point, and the constants `ARENA_BYTES`, `FLASH_BYTES` and `MACS`.
///
/// Paths are relative to the folder of the crate's `Cargo.toml`.
/// The crate is rebuilt when the model or the samples change.
/// The machine follows from the crate's own build: with `-C target-feature=+avx2` (or a `target-cpu` that
/// has it) on x86-64 the module is made of AVX2 kernels, with `+avxvnni` or AVX-512 VNNI of those, elsewhere
/// of portable ones; all compute the same integers.
///
/// | argument | meaning |
/// |---|---|
/// | `calibrate = "x.npz"` or `["a", "b"]` | samples: `.npz`, `.npy` or a folder of images; without, ranges come from batch normalization |
/// | `ranges = "x.json"` | what `qcc calibrate` has written, in the place of samples |
/// | `input_range = "0..1"` or `["a=-1..1", "b=0..255"]` | where the reals of inputs lie; without samples it must be told, by this or by a preset for pixels |
/// | `name = Digits` | the module's name; the file's stem when left out |
/// | `preset = "imagenet"` | named preprocessing of the samples: `imagenet`, `tf`, `unit`, `raw` |
/// | `scale`, `mean`, `std` | preprocessing in numbers, as text: `scale = "1/255"`, `mean = "0.485,0.456,0.406"` |
/// | `layout`, `resize`, `channels` | as of `qcc compile`: `"nhwc"`, `"224x224"`, `"bgr"` |
/// | `samples = 100` | at most this many samples of each source |
/// | `batch = 1` | extent of the batch axis, where the file leaves it open |
/// | `input_type = "i8"` | integers of activations, inputs and outputs; `"u8"` when left out |
/// | `threads = 4` | adds `run_parallel`, with which at most so many threads share each large layer |
/// | `thread_pool = true` | adds `ThreadPool`, threads of the standard library for `run_parallel` |
/// | `numerics = "tflite"` | operators compute as the reference kernels of TFLite do; else as ONNX's pages say |
/// | `precision`, `weights`, `rounding` | as of `qcc compile`: `"w4a8"`, `"per-tensor"`, `"gptq"` |
/// | `equalisation` | as of `qcc compile`: `"none"`, `"scales"`, `"shifts"` |
/// | `bias_correction` | as of `qcc compile`: `"none"`, `"analytic"`, `"samples"` |
/// | `layers = "head*=w8a16"` | the precision of some layers; or a list |
///
/// Calibration runs inside the compiler; `[profile.dev.build-override] opt-level = 3` in `Cargo.toml` makes
/// it fast for large networks.
#[proc_macro]
pub fn include_model(arguments: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    expand::expand(&arguments)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
