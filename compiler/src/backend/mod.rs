//! Printers of Kernel IR. They know languages and rows of the target table; no operator, no model.
