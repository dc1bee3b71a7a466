//! One ONNX node at a time, for the tests of imports.

use crate::Result;
use crate::ir::{Array, Data, Elem, IntType, Model, TensorId, Type};
use crate::ops::{Attribute, Importer, SourceNode, import_of};

/// A model of one ONNX node under test.
pub(crate) struct OneNode {
    node: SourceNode,
    importer: Importer,
    constants: bool,
}

impl OneNode {
    /// A node without attributes and operands.
    pub(crate) fn new(op_type: &str, opset: i64) -> OneNode {
        let node = SourceNode {
            name: "node".into(),
            op_type: op_type.into(),
            domain: String::new(),
            opset,
            attributes: Default::default(),
            inputs: vec![],
            outputs: vec!["y".into()],
        };
        let mut importer = Importer::new("test");
        importer.begin("y");
        OneNode {
            node,
            importer,
            constants: true,
        }
    }

    /// From here on, operands are inputs of the model instead of constants.
    pub(crate) fn inputs(mut self) -> OneNode {
        self.constants = false;
        self
    }

    /// From here on, operands are constants again.
    pub(crate) fn constants(mut self) -> OneNode {
        self.constants = true;
        self
    }

    /// Names the outputs, all of them used.
    pub(crate) fn outputs(mut self, names: &[&str]) -> OneNode {
        self.node.outputs = names.iter().map(|name| name.to_string()).collect();
        self
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, name: &str, value: Attribute) -> OneNode {
        self.node.attributes.insert(name.into(), value);
        self
    }

    /// Adds an integer attribute.
    pub(crate) fn int(self, name: &str, value: i64) -> OneNode {
        self.with(name, Attribute::Int(value))
    }

    /// Adds a list attribute.
    pub(crate) fn ints(self, name: &str, values: &[i64]) -> OneNode {
        self.with(name, Attribute::Ints(values.to_vec()))
    }

    /// Adds a string attribute.
    pub(crate) fn string(self, name: &str, value: &str) -> OneNode {
        self.with(name, Attribute::String(value.into()))
    }

    /// Adds an absent operand.
    pub(crate) fn absent(mut self) -> OneNode {
        self.node.inputs.push(None);
        self
    }

    /// The node is an operator of another domain.
    pub(crate) fn domain(mut self, domain: &str) -> OneNode {
        self.node.domain = domain.into();
        self
    }

    /// Adds an operand of reals or 64-bit integers.
    pub(crate) fn operand(self, array: Array) -> OneNode {
        let elem = match array.data {
            Data::F32(_) => Elem::Float,
            _ => Elem::Int(IntType::I64),
        };
        self.typed(array, elem)
    }

    /// Adds an operand.
    pub(crate) fn typed(mut self, array: Array, elem: Elem) -> OneNode {
        let ty = Type {
            shape: array.shape.clone(),
            elem,
        };
        let value = self.constants.then_some(array);
        let id = self.importer.model.add_tensor("operand", ty, value);
        if !self.constants {
            self.importer.model.inputs.push(id);
        }
        self.node.inputs.push(Some(id));
        self
    }

    /// Imports the node.
    pub(crate) fn import(mut self) -> Result<(Model, Vec<TensorId>)> {
        let import =
            import_of(&self.node.domain, &self.node.op_type).expect("a family knows the operator");
        let outputs = import(&self.node, &mut self.importer)?;
        let mut model = self.importer.model;
        model.outputs = outputs.clone();
        Ok((model, outputs))
    }

    /// The first output's value, for constant operands.
    pub(crate) fn folded(self) -> Result<Array> {
        let (model, outputs) = self.import()?;
        Ok(model[outputs[0]].value.clone().expect("constants fold"))
    }

    /// The first diagnostic's message.
    pub(crate) fn refusal(self) -> String {
        let error = self.import().expect_err("the import is refused");
        error.diagnostics[0].message.clone()
    }
}

/// 1.0, 2.0, 3.0, ...
pub(crate) fn counting(shape: &[usize]) -> Array {
    let size: usize = shape.iter().product();
    Array::f32(shape, (1..=size).map(|i| i as f32).collect())
}
