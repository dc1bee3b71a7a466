qcc::include_model!("model.onnx", calibration = "samples.npz");

fn main() {}
