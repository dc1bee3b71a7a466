//! The order in which nodes can be imported.

use std::collections::HashMap;

use onnx_protobuf::NodeProto;
use petgraph::Directed;
use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{EdgeReference, Graph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::{Result, bail};

/// Positions of the nodes such that each follows the producers of its operands: the file's order where
/// that holds, as it should. A cycle is reported with the nodes on it.
pub(super) fn topological(nodes: &[NodeProto], labels: &[String]) -> Result<Vec<usize>> {
    let graph = dependencies(nodes);
    let follows = |edge: EdgeReference<(), usize>| edge.source() < edge.target();
    if graph.edge_references().all(follows) {
        return Ok((0..nodes.len()).collect());
    }
    if let Ok(order) = toposort(&graph, None) {
        return Ok(order.into_iter().map(|node| node.index()).collect());
    }
    let mut cycles = kosaraju_scc(&graph);
    cycles.retain(|cycle| cycle.len() > 1 || graph.contains_edge(cycle[0], cycle[0]));
    let nodes = cycles.into_iter().flatten();
    let mut members: Vec<usize> = nodes.map(|node| node.index()).collect();
    members.sort_unstable();
    // A few names find the place; a hostile file may have a million.
    let shown = members.iter().take(8);
    let mut names: Vec<&str> = shown.map(|i| labels[*i].as_str()).collect();
    if members.len() > names.len() {
        names.push("...");
    }
    bail!(
        "the graph has a cycle through {}", names.join(", ");
        hint: "ONNX graphs are acyclic; export the model again"
    )
}

/// An edge from each node to the readers of its outputs.
fn dependencies(nodes: &[NodeProto]) -> Graph<(), (), Directed, usize> {
    let mut producers = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            producers.insert(name.as_str(), NodeIndex::new(index));
        }
    }
    let mut graph = Graph::default();
    let readers: Vec<_> = nodes.iter().map(|_| graph.add_node(())).collect();
    for (node, reader) in nodes.iter().zip(readers) {
        let operands = node.input.iter().map(String::as_str);
        for producer in operands.filter_map(|name| producers.get(name)) {
            graph.add_edge(*producer, reader, ());
        }
    }
    graph
}
