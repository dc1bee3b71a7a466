//! A machine: vector types, spellings of operations, tiles. Read from `targets/*.toml`.
