use qcc_compiler::onnx;
use std::path::Path;
#[test]
fn probe() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
    let folder = if folder.exists() {
        folder
    } else {
        "/work/shared/models".into()
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    for path in files {
        let t = std::time::Instant::now();
        match onnx::load(&path, &onnx::Options::default()) {
            Ok(m) => {
                let mut ops = std::collections::BTreeMap::new();
                for n in &m.nodes {
                    *ops.entry(n.op.name()).or_insert(0) += 1;
                }
                println!(
                    "OK {:?} {} in {:?} out {:?} {:?} {:?}",
                    path.file_name().unwrap(),
                    m.nodes.len(),
                    m.inputs.iter().map(|i| &m[*i].ty.shape).collect::<Vec<_>>(),
                    m.outputs
                        .iter()
                        .map(|i| &m[*i].ty.shape)
                        .collect::<Vec<_>>(),
                    t.elapsed(),
                    ops
                )
            }
            Err(e) => {
                let s = e.to_string();
                let n = s.lines().count();
                println!(
                    "ERR {:?} {n}\n   {}",
                    path.file_name().unwrap(),
                    s.lines().take(4).collect::<Vec<_>>().join("\n   ")
                )
            }
        }
    }
}
