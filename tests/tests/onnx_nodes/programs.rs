//! Node tests as emitted programs.

use qcc_compiler::backend::Header;
use qcc_compiler::harness::{self, Executable, Layers};
use qcc_compiler::ir::{Array, Model};
use qcc_compiler::target::{Language, Target};
use qcc_compiler::{lower, pipeline};

/// The cases of quantization that compile: the others are per channel or in blocks of an activation, have scales
/// that are computed and leave the network, or are of 8-bit floats.
pub(crate) const COMPILED: &[&str] = &[
    "test_convinteger_with_padding",
    "test_convinteger_without_padding",
    "test_dequantizelinear",
    "test_dequantizelinear_int16",
    "test_dequantizelinear_int2",
    "test_dequantizelinear_int4",
    "test_dequantizelinear_uint16",
    "test_dequantizelinear_uint2",
    "test_dequantizelinear_uint4",
    "test_matmulinteger",
    "test_qlinearconv",
    "test_qlinearmatmul_2D_int8_float16",
    "test_qlinearmatmul_2D_int8_float32",
    "test_qlinearmatmul_2D_uint8_float16",
    "test_qlinearmatmul_2D_uint8_float32",
    "test_qlinearmatmul_3D_int8_float16",
    "test_qlinearmatmul_3D_int8_float32",
    "test_qlinearmatmul_3D_uint8_float16",
    "test_qlinearmatmul_3D_uint8_float32",
    "test_quantizelinear",
    "test_quantizelinear_int16",
    "test_quantizelinear_uint16",
];

/// What became of a case that was compiled.
#[derive(Default)]
pub(crate) struct Programs {
    /// How many programs gave what is expected.
    pub(crate) passed: usize,
    /// Why the last one was not compiled.
    pub(crate) refusal: String,
}

/// The outputs of the C that gcc compiles, where it and the machine are there.
pub(crate) fn emitted(
    model: &Model,
    inputs: &[Array],
    machine: &str,
) -> qcc_compiler::Result<Option<Vec<Array>>> {
    let target = Target::load(machine)?;
    let (compilers, _) = harness::compilers(&target, Language::C);
    let Some(compiler) = compilers.first() else {
        return Ok(None);
    };
    if harness::runs_here(&target).is_err() {
        return Ok(None);
    }
    let program = pipeline::lower(model, &target, &lower::Options::default(), "node")?;
    let source = pipeline::print(&program, &target, Language::C, &Header::default());
    let check = Executable::build(&source, &program, &target, compiler, Layers::Untold)?;
    let sample = harness::to_ports(&program, inputs);
    let outputs = check.run(&[sample])?;
    let outputs = harness::from_ports(&program, model, &outputs[0]);
    Ok(Some(outputs))
}
