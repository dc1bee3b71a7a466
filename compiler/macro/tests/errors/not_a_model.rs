qcc::include_model!("Cargo.toml", name = Model);

fn main() {}
