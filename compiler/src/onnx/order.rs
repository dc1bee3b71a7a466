//! The order in which nodes can be imported.

use std::collections::HashMap;

use onnx_protobuf::NodeProto;
use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::{Result, bail};

/// Positions of the nodes such that each follows the producers of its operands: the file's order where
/// that holds, as it should. A cycle is reported with the nodes on it.
pub(super) fn topological(nodes: &[NodeProto], labels: &[String]) -> Result<Vec<usize>> {
    let mut producers = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            producers.insert(name.as_str(), index);
        }
    }
    let mut graph = DiGraph::<(), (), usize>::default();
    for _ in nodes {
        graph.add_node(());
    }
    let mut in_order = true;
    for (index, node) in nodes.iter().enumerate() {
        for producer in node
            .input
            .iter()
            .filter_map(|name| producers.get(name.as_str()))
        {
            in_order &= *producer < index;
            graph.add_edge(NodeIndex::new(*producer), NodeIndex::new(index), ());
        }
    }
    if in_order {
        return Ok((0..nodes.len()).collect());
    }
    if let Ok(order) = toposort(&graph, None) {
        return Ok(order.into_iter().map(|node| node.index()).collect());
    }
    let mut cycles = kosaraju_scc(&graph);
    cycles.retain(|cycle| cycle.len() > 1 || graph.contains_edge(cycle[0], cycle[0]));
    let mut members: Vec<usize> = cycles
        .into_iter()
        .flatten()
        .map(|node| node.index())
        .collect();
    members.sort_unstable();
    // A few names find the place; a hostile file may have a million.
    let mut names: Vec<&str> = members
        .iter()
        .take(8)
        .map(|i| labels[*i].as_str())
        .collect();
    if members.len() > names.len() {
        names.push("...");
    }
    bail!(
        "the graph has a cycle through {}", names.join(", ");
        hint: "ONNX graphs are acyclic; export the model again"
    )
}
