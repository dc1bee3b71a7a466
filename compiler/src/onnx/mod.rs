//! ONNX files: the only code that knows protobuf and how ONNX names things.
