//! The float evaluator: a model on reals, for calibration and as the measure of accuracy.
