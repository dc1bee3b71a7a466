//! The integer evaluator: what a quantized model means, bit for bit. Independent of the kernels.
