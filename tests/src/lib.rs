//! What needs a compiler, an emulator or a model.
