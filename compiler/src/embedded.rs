//! Files that are part of the compiler: `targets/*.toml` and `codegen-templates/*.j2`, by stem.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
