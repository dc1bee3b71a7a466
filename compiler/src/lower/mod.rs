//! From a quantized model to a program: memory plan, layouts, one kernel a node.
