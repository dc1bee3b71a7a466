//! Model to model. `PIPELINE` is one list.
