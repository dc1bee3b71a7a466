qcc::include_model!("model.onnx", samples = 10, samples = 20);

fn main() {}
