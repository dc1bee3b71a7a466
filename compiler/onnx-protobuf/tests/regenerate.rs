//! The checked-in types are what the checked-in proto file gives.

use std::path::Path;

#[test]
fn types_come_from_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["onnx.proto3"], [root]).expect("the proto file is valid");
    let modules = prost_build::Config::new()
        .generate(vec![(
            prost_build::Module::from_protobuf_package_name("onnx"),
            descriptors.file[0].clone(),
        )])
        .expect("prost supports the proto file");
    let generated = modules.into_values().next().expect("one package");

    let path = root.join("src/onnx.rs");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, generated).expect("the source folder is writable");
        return;
    }
    let checked_in = std::fs::read_to_string(&path).expect("onnx.rs is checked in");
    assert!(
        generated == checked_in,
        "src/onnx.rs is stale; run the test with UPDATE=1"
    );
}
