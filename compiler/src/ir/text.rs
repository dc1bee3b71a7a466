//! The text form of a model, for people and snapshots.
