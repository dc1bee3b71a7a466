qcc::include_model!("model.onnx", calibrate = ["a.npz", "b.npz"], scale = "tiny", mean = "1,2");

fn main() {}
