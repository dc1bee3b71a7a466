//! The graph, node by node.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use onnx_protobuf::{GraphProto, NodeProto, TensorProto};

use super::{Options, attribute, input, order, tensor};
use crate::ir::{Model, TensorId, Type, verify};
use crate::ops::{Importer, SourceNode, import_of};
use crate::{Error, Result, bail};

/// All initializers have no more elements together: narrow integers grow to 64 bits here.
const MAX_ELEMENTS: usize = 1 << 29;

/// A value of the ONNX graph: a tensor of the model, or nothing where its node could not be imported.
type Value = Option<TensorId>;

/// The model that a graph is.
pub(super) fn import(
    mut graph: GraphProto,
    opset: i64,
    folder: Option<&Path>,
    options: &Options,
) -> Result<Model> {
    let mut importer = Importer::new(std::mem::take(&mut graph.name));
    check_definitions(&graph)?;
    let labels: Vec<String> = graph.node.iter().map(label).collect();
    let order = order::topological(&graph.node, &labels)?;
    let live = live(&graph, &order);
    let order: Vec<usize> = order.into_iter().filter(|index| live[*index]).collect();
    let names = reserve_names(&mut importer, &graph);

    let mut errors = vec![];
    let mut values: HashMap<String, Value> = HashMap::new();
    errors.extend(inputs(&mut importer, &graph, options, &mut values).err());
    let initializers = std::mem::take(&mut graph.initializer);
    errors.extend(constants(&mut importer, initializers, folder, &mut values));
    for index in order {
        let node = std::mem::take(&mut graph.node[index]);
        importer.begin(&names[index]);
        let imported = operator(&mut importer, node, opset, folder, &mut values);
        errors.extend(imported.err().map(|error| error.at(&labels[index])));
    }
    Error::collect(errors)?;
    outputs(&mut importer, &graph, &values);
    let mut model = importer.model;
    model.remove_dead();
    model.remove_unused_tensors();
    verify(&model)?;
    Ok(model)
}

/// `conv1 (Conv)`: how messages call an ONNX node.
fn label(node: &NodeProto) -> String {
    format!("{} ({})", name(node), node.op_type)
}

/// The node's name, or its first output's where it has none.
fn name(node: &NodeProto) -> &str {
    let first = node.output.iter().find(|name| !name.is_empty());
    match (node.name.as_str(), first) {
        ("", Some(output)) => output,
        ("", None) => &node.op_type,
        (name, _) => name,
    }
}

/// Every value has one definition, and whatever is read has one.
fn check_definitions(graph: &GraphProto) -> Result<()> {
    let defined = definitions(graph)?;
    let mut errors = vec![];
    for node in &graph.node {
        let names = node.input.iter().filter(|name| !name.is_empty());
        for name in names.filter(|name| !defined.contains(name.as_str())) {
            let error = Error::new(format!("operand `{name}` is defined nowhere"));
            let hint = "an initializer is missing from the file; export the model again";
            errors.push(error.hint(hint).at(&label(node)));
        }
    }
    if graph.output.is_empty() {
        errors.push(Error::new("the graph has no output"));
    }
    let outputs = graph.output.iter().map(|output| output.name.as_str());
    for name in outputs.filter(|name| !defined.contains(name)) {
        errors.push(Error::new(format!("output `{name}` is defined nowhere")));
    }
    Error::collect(errors)
}

/// The names of all values; an error where one has two definitions.
fn definitions(graph: &GraphProto) -> Result<HashSet<&str>> {
    if !graph.sparse_initializer.is_empty() {
        bail!("sparse initializers are not supported"; hint: "export the model with dense weights");
    }
    let mut defined: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        if !defined.insert(&tensor.name) {
            bail!("two initializers have the name `{}`", tensor.name);
        }
    }
    // An initializer may also be listed as an input, for which it is the default.
    let mut inputs = HashSet::new();
    for input in &graph.input {
        if input.name.is_empty() || !inputs.insert(input.name.as_str()) {
            bail!("two inputs have the name `{}`, or it is empty", input.name);
        }
    }
    defined.extend(inputs);
    for node in &graph.node {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if !defined.insert(name) {
                return Err(Error::new(format!("`{name}` is defined twice")).at(&label(node)));
            }
        }
    }
    Ok(defined)
}

/// Which nodes the outputs depend on; the others need no import, whatever they are.
fn live(graph: &GraphProto, order: &[usize]) -> Vec<bool> {
    let mut needed: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut live = vec![false; graph.node.len()];
    for &index in order.iter().rev() {
        let node = &graph.node[index];
        let read = |name: &String| !name.is_empty() && needed.contains(name.as_str());
        if node.output.iter().any(read) {
            live[index] = true;
            needed.extend(node.input.iter().map(String::as_str));
        }
    }
    live
}

/// Keeps the names of the file's values and nodes for themselves; returns the nodes' names, made unique.
fn reserve_names(importer: &mut Importer, graph: &GraphProto) -> Vec<String> {
    let inputs = graph.input.iter().map(|input| &input.name);
    let initializers = graph.initializer.iter().map(|tensor| &tensor.name);
    let outputs = graph.node.iter().flat_map(|node| &node.output);
    for name in inputs.chain(initializers).chain(outputs) {
        importer.reserve_tensor(name);
    }
    let nodes = graph.node.iter();
    nodes
        .map(|node| importer.reserve_node(name(node)))
        .collect()
}

/// Why a node whose operator no family knows is refused.
fn unsupported(node: &NodeProto) -> Error {
    let operator = match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}::{}", node.op_type),
    };
    Error::new(format!("operator {operator} is not supported")).hint(
        "express it with supported operators before exporting, or cut the model before this node",
    )
}

/// Defines the inputs, those that initializers give a value excepted.
fn inputs(
    importer: &mut Importer,
    graph: &GraphProto,
    options: &Options,
    values: &mut HashMap<String, Value>,
) -> Result<()> {
    let initializers: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut inputs = graph.input.clone();
    inputs.retain(|input| !initializers.contains(input.name.as_str()));
    values.extend(inputs.iter().map(|input| (input.name.clone(), None)));
    let types = input::types(&inputs, options)?;
    for (input, ty) in inputs.into_iter().zip(types) {
        let value = options.bind.get(&input.name).cloned();
        let bound = value.is_some();
        let id = importer.define(&input.name, ty, value);
        if !bound {
            importer.model.inputs.push(id);
        }
        values.insert(input.name, Some(id));
    }
    Ok(())
}

/// Defines the initializers; returns what is wrong with them.
fn constants(
    importer: &mut Importer,
    initializers: Vec<TensorProto>,
    folder: Option<&Path>,
    values: &mut HashMap<String, Value>,
) -> Vec<Error> {
    let mut errors = vec![];
    let mut elements = 0;
    for initializer in initializers {
        let array = tensor::array(&initializer, folder).and_then(|(array, elem)| {
            elements += array.len();
            if elements > MAX_ELEMENTS {
                bail!("the initializers have more than {MAX_ELEMENTS} elements together");
            }
            Ok((array, elem))
        });
        let id = match array {
            Ok((array, elem)) => {
                let ty = Type {
                    shape: array.shape.clone(),
                    elem,
                };
                Some(importer.define(&initializer.name, ty, Some(array)))
            }
            Err(error) => {
                errors.push(error.at(&format!("initializer `{}`", initializer.name)));
                None
            }
        };
        values.insert(initializer.name, id);
    }
    errors
}

/// Imports one node and defines its outputs. What depends on a failure is skipped: its error would say
/// nothing that the first does not.
fn operator(
    importer: &mut Importer,
    node: NodeProto,
    opset: i64,
    folder: Option<&Path>,
    values: &mut HashMap<String, Value>,
) -> Result<()> {
    for name in node.output.iter().filter(|name| !name.is_empty()) {
        values.insert(name.clone(), None);
    }
    let Some(import) = import_of(&node.domain, &node.op_type) else {
        return Err(unsupported(&node));
    };
    let Some(inputs) = operands(&node, values) else {
        return Ok(());
    };
    let source = SourceNode {
        name: importer.current.clone(),
        opset,
        attributes: attribute::attributes(node.attribute, folder)?,
        op_type: node.op_type,
        domain: node.domain,
        inputs,
        outputs: node.output,
    };
    let first_new = importer.model.tensors.len();
    let results = import(&source, importer)?;
    for (index, name) in source.outputs.into_iter().enumerate() {
        let Some(id) = results.get(index).copied() else {
            if name.is_empty() {
                continue;
            }
            bail!("output {index} is not supported"; hint: "remove what reads `{name}` from the model");
        };
        // A result may be an older tensor, which keeps its name, or stand for two outputs.
        let is_new = id.0 as usize >= first_new && !results[..index].contains(&id);
        if is_new && !name.is_empty() {
            importer.rename(id, &name);
        }
        values.insert(name, Some(id));
    }
    Ok(())
}

/// A node's operands, an empty name being an absent one; nothing where one could not be imported.
fn operands(node: &NodeProto, values: &HashMap<String, Value>) -> Option<Vec<Option<TensorId>>> {
    let operand = |name: &String| match values.get(name) {
        _ if name.is_empty() => Some(None),
        Some(Some(id)) => Some(Some(*id)),
        _ => None,
    };
    node.input.iter().map(operand).collect()
}

/// Lists the outputs; one that is another value under a second name gives that value its name.
fn outputs(importer: &mut Importer, graph: &GraphProto, values: &HashMap<String, Value>) {
    let mut named: HashSet<TensorId> = importer.model.inputs.iter().copied().collect();
    for output in &graph.output {
        let id = values[&output.name].expect("every failure was reported");
        if named.insert(id) {
            importer.rename(id, &output.name);
        }
        importer.model.outputs.push(id);
    }
}
