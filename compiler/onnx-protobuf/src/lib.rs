//! ONNX protobuf types.
