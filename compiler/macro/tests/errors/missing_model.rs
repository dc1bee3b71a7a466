qcc::include_model!("models/missing.onnx", calibrate = "models/samples.npz");

fn main() {}
