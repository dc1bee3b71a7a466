//! `qcc inspect`: what a network consists of and what it will cost.

use qcc_compiler::ir::{Data, Elem, IntType, Model, Node, TensorId};
use qcc_compiler::kernel::Program;
use qcc_compiler::ops::Op;
use qcc_compiler::passes::{self, Stage, quantize};
use qcc_compiler::target::{self, Target};
use qcc_compiler::{Result, lower, onnx, pipeline};

use crate::args::{DataArgs, ModelArgs, QuantizeArgs};
use crate::compile::{Cost, in_floating_point};
use crate::json::Json;
use crate::output;
use crate::prepare::{self, Fallback};

/// Arguments of `qcc inspect`.
#[derive(clap::Args)]
#[command(after_help = "\
Sizes do not depend on the samples, so none are needed.

Examples:
  qcc inspect model.onnx
  qcc inspect model.onnx --json
  qcc inspect model.onnx --ir
  qcc inspect model.onnx --ir --after import
  qcc inspect model.onnx --calibrate samples.npz --proofs x86_64-avx2")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Print the graph in the compiler's own form
    #[arg(long, conflicts_with = "json")]
    ir: bool,
    /// With --ir: after this pass instead of the last; `import` is before the first
    #[arg(long, value_name = "PASS", requires = "ir", value_parser = pass())]
    after: Option<String>,
    /// Print what was proven of each layer's arithmetic on a machine; ranges, and so proofs, are those of the samples
    #[arg(long, value_name = "TARGET", value_parser = target::names(), conflicts_with_all = ["json", "ir"])]
    proofs: Option<String>,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Prints tables, JSON, the graph or proofs.
pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.ir {
        output::print(&format!("{}", graph(args)?));
        return Ok(0);
    }
    let prepared = prepare::prepare(
        &args.model,
        &args.quantize,
        &args.data,
        Fallback::Noise,
        prepare::ANY,
    )?;
    if let Some(name) = &args.proofs {
        let (target, options) = (Target::load(name)?, lower::Options::default());
        let program = pipeline::lower(&prepared.integer, &target, &options, "model")?;
        output::print(&proofs(&program));
        return Ok(0);
    }
    let mut costs = vec![];
    for name in target::names() {
        let target = Target::load(name)?;
        let options = lower::Options::default();
        let program = pipeline::lower(&prepared.integer, &target, &options, "model")?;
        costs.push((name, program));
    }
    let imported = quantize::Imported::of(&prepared.float)?;
    let summary = Summary::of(&prepared.integer, imported, &costs);
    output::print(&match args.json {
        true => summary.json().text(0) + "\n",
        false => summary.text(),
    });
    Ok(0)
}

/// What was proven of each layer, a line a claim.
fn proofs(program: &Program) -> String {
    let mut text = String::new();
    for call in &program.calls {
        let mut claims = program.kernels[call.kernel].proven().peekable();
        if claims.peek().is_some() {
            text += &format!("{}\n", call.layer);
        }
        claims.for_each(|claim| text += &format!("  {claim}\n"));
    }
    text
}

fn pass() -> clap::builder::PossibleValuesParser {
    let names = passes::PIPELINE.iter().map(|p| p.name);
    clap::builder::PossibleValuesParser::new(["import"].into_iter().chain(names))
}

/// The graph after the pass that was asked for.
fn graph(args: &Args) -> Result<Model> {
    let mut model = onnx::load(&args.model.model, &args.model.options())?;
    let last = args.after.as_deref();
    if last == Some("import") {
        return Ok(model);
    }
    for stage in [Stage::Float, Stage::Quantized] {
        if stage == Stage::Quantized {
            prepare::calibrate(&mut model, &args.quantize, &args.data, Fallback::Noise)?;
            quantize::quantize(&mut model, &args.quantize.options()?)?;
        }
        for pass in passes::PIPELINE.iter().filter(|p| p.stage == stage) {
            (pass.run)(&mut model)?;
            if last == Some(pass.name) {
                return Ok(model);
            }
        }
    }
    Ok(model)
}

/// Everything that is shown.
struct Summary {
    name: String,
    imported: quantize::Imported,
    /// Which layers are computed in floating point, if any is.
    floating_point: Option<String>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    layers: Vec<Layer>,
    machines: Vec<(&'static str, Cost)>,
}

struct Port {
    name: String,
    elem: String,
    shape: Vec<usize>,
}

struct Layer {
    name: String,
    operator: &'static str,
    shape: Vec<usize>,
    macs: u64,
    parameters: u64,
    /// The shape of the weights, if it has some.
    weights: Vec<usize>,
    groups: Option<usize>,
}

impl Summary {
    fn of(
        model: &Model,
        imported: quantize::Imported,
        programs: &[(&'static str, Program)],
    ) -> Summary {
        let ports = |ids: &[TensorId]| ids.iter().map(|id| Port::of(model, *id)).collect();
        let layer = |node| Layer::of(model, node, &programs[0].1);
        let machines = programs.iter().map(|(name, p)| (*name, Cost::of(p)));
        Summary {
            name: model.name.clone(),
            imported,
            floating_point: in_floating_point(model),
            inputs: ports(&model.inputs),
            outputs: ports(&model.outputs),
            layers: model.nodes.iter().map(layer).collect(),
            machines: machines.collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.name);
        let quantize::Imported { quantized, real } = &self.imported;
        if *quantized > 0 {
            let all = quantized + real.len();
            text += &format!("{quantized} of {all} tensors came quantized\n");
        }
        if let Some(line) = &self.floating_point {
            text += &format!("{line}\n");
        }
        text += "\n";
        let ports = self.inputs.iter().map(|p| ("input", p));
        let ports = ports.chain(self.outputs.iter().map(|p| ("output", p)));
        let rows: Vec<_> = ports
            .map(|(kind, p)| {
                vec![
                    kind.into(),
                    p.name.clone(),
                    p.elem.clone(),
                    format!("{:?}", p.shape),
                ]
            })
            .collect();
        text += &output::table(&["port", "name", "element", "shape"], &rows, 4);
        let mut rows: Vec<_> = self.layers.iter().map(Layer::row).collect();
        let (macs, parameters) = self.totals();
        rows.push(vec![
            "total".into(),
            String::new(),
            String::new(),
            output::grouped(macs),
            output::grouped(parameters),
        ]);
        let header = ["layer", "operator", "output", "MACs", "parameters"];
        text += &format!("\n{}\n", output::table(&header, &rows, 3));
        let rows: Vec<_> = self
            .machines
            .iter()
            .map(|(name, cost)| {
                vec![
                    name.to_string(),
                    output::size(cost.arena),
                    output::size(cost.constants),
                ]
            })
            .collect();
        text + &output::table(&["target", "arena", "constants"], &rows, 1)
    }

    fn totals(&self) -> (u64, u64) {
        let macs = self.layers.iter().map(|l| l.macs).sum();
        (macs, self.layers.iter().map(|l| l.parameters).sum())
    }

    fn json(&self) -> Json {
        let machine = |(name, cost): &(&'static str, Cost)| {
            Json::Object(vec![
                ("target", Json::Text(name.to_string())),
                ("arena_bytes", Json::int(cost.arena)),
                ("constant_bytes", Json::int(cost.constants)),
            ])
        };
        let (macs, parameters) = self.totals();
        Json::Object(vec![
            ("name", Json::Text(self.name.clone())),
            ("came_quantized", Json::int(self.imported.quantized as u64)),
            (
                "inputs",
                Json::List(self.inputs.iter().map(Port::json).collect()),
            ),
            (
                "outputs",
                Json::List(self.outputs.iter().map(Port::json).collect()),
            ),
            ("macs", Json::int(macs)),
            ("parameters", Json::int(parameters)),
            (
                "layers",
                Json::List(self.layers.iter().map(Layer::json).collect()),
            ),
            (
                "targets",
                Json::List(self.machines.iter().map(machine).collect()),
            ),
        ])
    }
}

impl Port {
    fn of(model: &Model, id: TensorId) -> Port {
        let tensor = &model[id];
        let int = |int: &IntType| format!("{}{}", if int.signed { 'i' } else { 'u' }, int.bits);
        let elem = match &tensor.ty.elem {
            Elem::Quantized(params) => int(&params.int),
            Elem::Int(plain) => int(plain),
            Elem::Float => "f32".to_string(),
            Elem::Bool => "bool".to_string(),
        };
        Port {
            name: tensor.name.clone(),
            elem,
            shape: tensor.ty.shape.clone(),
        }
    }

    fn json(&self) -> Json {
        Json::Object(vec![
            ("name", Json::Text(self.name.clone())),
            ("element", Json::Text(self.elem.clone())),
            ("shape", Json::ints(&self.shape)),
        ])
    }
}

impl Layer {
    fn of(model: &Model, node: &Node, program: &Program) -> Layer {
        let calls = program.calls.iter().filter(|c| c.layer == node.name);
        let values = node.operands().filter_map(|id| model[id].value.as_ref());
        // Plain integers are positions and shapes, not parameters.
        let parameters = values.filter(|v| !matches!(v.data, Data::I64(_)));
        let weights = node
            .operands()
            .nth(1)
            .filter(|id| model[*id].value.is_some());
        let groups = match &node.op {
            Op::Conv(op) => Some(op.groups),
            Op::ConvTranspose(op) => Some(op.groups),
            _ => None,
        };
        Layer {
            name: node.name.clone(),
            operator: node.op.name(),
            shape: model[node.output].ty.shape.clone(),
            macs: calls.map(|c| c.macs).sum(),
            parameters: parameters.map(|v| v.len() as u64).sum(),
            weights: weights.map_or(vec![], |id| model[id].ty.shape.clone()),
            groups,
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            output::shortened(&self.name),
            self.operator.to_string(),
            format!("{:?}", self.shape),
            output::grouped(self.macs),
            output::grouped(self.parameters),
        ]
    }

    fn json(&self) -> Json {
        Json::Object(vec![
            ("name", Json::Text(self.name.clone())),
            ("operator", Json::Text(self.operator.to_string())),
            ("output", Json::ints(&self.shape)),
            ("macs", Json::int(self.macs)),
            ("parameters", Json::int(self.parameters)),
            ("weights", Json::ints(&self.weights)),
            (
                "groups",
                self.groups.map_or(Json::Null, |n| Json::int(n as u64)),
            ),
        ])
    }
}
