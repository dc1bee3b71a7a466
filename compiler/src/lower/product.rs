//! What convolutions and dense layers share: numbers from the model, the proof, constants, the call.

use crate::integer::{self, Factor};
use crate::ir::{Clamp, Node, TensorId};
use crate::kernel::Scalar;
use crate::kernels::magnitude;
use crate::kernels::{
    Blocks, Chained, Chains, Depthwise, Fields, Form, Gemm, Names, Packed, Product, Requantize,
    Residual, Scale, View, Window, chain, offset, pack, unsigned_offset,
};
use crate::lower::memory::Memory;
use crate::lower::spread::{self, Spread};
use crate::lower::{Lowering, Place, layout, winograd};
use crate::ops::Pads;
use crate::prove::{self, Bounds};
use crate::target::Target;
use crate::{Result, bail};

/// Windows over memory, each multiplied by the same weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) window: Window,
    pub(super) groups: usize,
    /// From the first window's corner on.
    pub(super) input: (Place, View),
    pub(super) output: (Place, View),
}

/// A product's numbers but for its weights: bias, scales and zero point of a node with operands `x`,
/// `w` and optional `bias`.
pub(super) fn numbers(
    cx: &Lowering,
    node: &Node,
    channels: usize,
    requantize: &Requantize,
) -> Result<Product> {
    let [x, w] = [0, 1].map(|i| node.inputs[i].expect("`infer` demands both"));
    let (_, zero_point) = cx.quant(x);
    let range = cx.reached(x);
    let params = cx.params(w);
    let numbers = Product {
        weights: vec![],
        bias: match cx.model.constant(node, 2) {
            Some(bias) => bias.quantized().to_vec(),
            None => vec![0; channels],
        },
        scales: vec![],
        zero_point,
        range,
        elem: cx.scalar(x),
        fields: Fields::new((params.low, params.high), &params.zero_points(channels)),
    };
    let depth = cx.model[w].ty.len() / channels.max(1);
    let scales = scales(cx, node, &numbers, depth, requantize)?;
    Ok(Product { scales, ..numbers })
}

/// What sums of so many products are multiplied with.
fn scales(
    cx: &Lowering,
    node: &Node,
    numbers: &Product,
    depth: usize,
    requantize: &Requantize,
) -> Result<Vec<Scale>> {
    let factors = integer::factors(cx.model, node, numbers.bias.len());
    let reach = numbers.reach(depth);
    let limits = [requantize.low, requantize.high].map(|y| y - requantize.zero_point);
    let mut found: Vec<(Factor, Scale)> = vec![];
    let mut scale = |factor: Factor| {
        let m = match factor {
            Factor::Real(m) => return Ok(Scale::Real(m)),
            Factor::Fixed(m) => return Ok(Scale::Twice(m)),
            Factor::Double(m) => m,
        };
        if let Some((_, known)) = found.iter().find(|(other, _)| *other == factor) {
            return Ok(*known);
        }
        let meant = |sum: i32| factor.round(sum.into());
        let Some(scale) = prove::once(m, meant, reach, limits.into()) else {
            bail!(
                "no factor of 31 bits rounds sums as the factor {m:e} of 53 bits does";
                hint: "compile the network without --numerics tflite"
            );
        };
        found.push((factor, scale));
        Ok(scale)
    };
    factors.into_iter().map(&mut scale).collect()
}

/// `w − z_w` of every weight, which `channel` tells the channel of by its flat index.
pub(super) fn weights(
    cx: &Lowering,
    node: &Node,
    channels: usize,
    channel: impl Fn(usize) -> usize,
) -> Vec<i32> {
    let w = node.inputs[1].expect("`infer` demands weights");
    let zero_points = cx.params(w).zero_points(channels);
    let value = cx.model[w]
        .value
        .as_ref()
        .expect("`check` demands constants");
    let weights = value.quantized().iter().enumerate();
    weights.map(|(i, w)| w - zero_points[channel(i)]).collect()
}

/// From sums to the node's result, without a residual.
pub(super) fn requantize(cx: &Lowering, node: &Node, activation: Clamp) -> Requantize {
    let params = cx.params(node.output);
    let (low, high) = cx.model.numerics.limits(activation, params);
    Requantize {
        zero_point: cx.quant(node.output).1,
        low,
        high,
        elem: cx.scalar(node.output),
        residual: None,
        scaling: Scale::Real(1.0),
    }
}

/// A tensor added to the node's scaled sums.
pub(super) fn residual(cx: &mut Lowering, node: &Node, id: TensorId) -> (Place, Residual) {
    let (place, view) = image(cx, id, Pads::default());
    let (scale, zero_point) = cx.quant(id);
    let residual = Residual {
        view,
        elem: cx.scalar(id),
        zero_point,
        ratio: scale / cx.quant(node.output).0,
    };
    (place, residual)
}

/// An image with a halo, channels last and without gaps between them; copied only if it does not lie so.
pub(super) fn image(cx: &mut Lowering, id: TensorId, pads: Pads) -> (Place, View) {
    image_with(cx, id, pads, cx.stored(id, 0.0))
}

/// [`image()`] with something else than zero in the halo.
pub(super) fn image_with(cx: &mut Lowering, id: TensorId, pads: Pads, fill: i32) -> (Place, View) {
    let (_, strides) = cx.strided(id);
    if cx.channels_last(id) && (strides[1] == 1 || cx.shape(id)[1] == 1) {
        return cx.padded_view_with(id, pads, fill);
    }
    let (place, strides) = cx.padded_copy(id, pads, fill);
    let [n, c, h, w] = four(cx.shape(id));
    let [top, side] = [pads.top + pads.bottom, pads.left + pads.right];
    (place, channels_last([n, c, h + top, w + side], &strides))
}

/// Where a node's image can be written channels last; [`deliver`] brings it home.
pub(super) fn result(cx: &mut Lowering, id: TensorId) -> (Place, View) {
    let (home, strides) = cx.strided(id);
    let shape = four(cx.shape(id));
    if cx.channels_last(id) {
        return (home, channels_last(shape, &strides));
    }
    let dense = layout::dense(&shape, true, Pads::default());
    let scratch = cx.scratch(cx.scalar(id), dense.elements);
    (scratch, channels_last(shape, &dense.strides))
}

/// Copies a result that was written elsewhere to where its readers expect it.
pub(super) fn deliver(cx: &mut Lowering, id: TensorId, written: Place) {
    if !cx.channels_last(id) {
        let (home, strides) = cx.strided(id);
        let shape = cx.shape(id);
        let dense = layout::dense(shape, true, Pads::default()).strides;
        cx.copy(cx.scalar(id), shape, (written, &dense), (home, &strides));
    }
}

fn channels_last([n, c, h, w]: [usize; 4], strides: &[usize]) -> View {
    View {
        extent: [n, h, w, c],
        strides: [strides[0], strides[2], strides[3], 1],
    }
}

/// Adds the product's constants, its kernel and the call of it.
pub(super) fn emit(
    cx: &mut Lowering,
    node: &Node,
    windows: &Windows,
    meant: &Product,
    (added, mut requantize): (Option<Place>, Requantize),
    macs: u64,
) -> Result<()> {
    let product = shared(cx, meant, &requantize);
    let product = &even(cx.target, &product, &requantize).unwrap_or(product);
    requantize.scaling = product.scaling();
    let said = comment(cx, node, windows, meant)?;
    let spread = spread::pixels(cx.target, windows, product, &requantize);
    let (windows, product, requantize) = match &spread {
        Some(spread) => (&spread.windows, &spread.product, spread.requantize.clone()),
        None => (windows, product, requantize),
    };
    let x = node.inputs[0].expect("`infer` demands an input");
    let elem = product.elem;
    let ((from, input), (to, output)) = (windows.input, windows.output);
    let single = input.extent[3] == windows.groups && output.extent[3] == windows.groups;
    let (name, slack) = (cx.name("sums"), !cx.ends_exactly(x));
    let (mut args, mut scratch, mut wide) = (vec![from], vec![], None);
    let depthwise = single && windows.groups > 1 && windows.window.taps() > 0;
    let depthwise_offset = match elem.bytes() {
        1 => 0,
        _ => offset(cx.target, elem),
    };
    // Sums that 32 bits do not hold are the other kernel's.
    let depthwise =
        depthwise && (elem.bytes() == 1 || prove::sums(product, depthwise_offset).is_ok());
    let mut gemm = Gemm {
        name: name.clone(),
        comment: vec![],
        window: windows.window,
        groups: windows.groups,
        form: product.form(),
        input,
        elem,
        slack,
        aligned: false,
        magnitudes: false,
        output,
        requantize: requantize.clone(),
        capacity: None,
        constants: Names::default(),
        chains: None,
        pairs: None,
        copied: false,
    };
    let k = cx.target.dot.k;
    let whole = from.offset.is_multiple_of(k) && cx.memory(from) == Memory::Arena;
    gemm.aligned = whole && elem.bytes() == 1 && windows.window.aligns(&input, windows.groups, k);
    let summed = match depthwise {
        true => Summed::Wide,
        false => summed(cx, &gemm, product),
    };
    let work = summed.work();
    let mut proven = vec![];
    let mut kernel = if depthwise {
        prove::sums(product, depthwise_offset)?;
        let mut conv = Depthwise {
            name,
            comment: vec![],
            window: windows.window,
            form: product.form(),
            input,
            elem,
            slack,
            output,
            requantize,
            blocks: None,
            constants: Names::default(),
        };
        if let Some(mut blocks) = Blocks::new(&conv, cx.target, product) {
            proven.push(blocks.comment(cx.target));
            let packed = blocks.pack(cx.target, product);
            blocks.check(&packed.weights, cx.target, product)?;
            blocks.constants = constants(cx, packed);
            conv.blocks = Some(blocks);
        }
        if let Some(packed) = conv.pack(cx.target, product) {
            conv.constants = constants(cx, of_sums(packed, &conv.requantize));
        }
        conv.kernel(cx.target)
    } else if let Some((conv, largest)) =
        winograd::choose(cx, &name, windows, product, (&requantize, slack), work)
    {
        let [filters, tiles, products] = conv.scratch(cx.target);
        scratch.push(cx.scratch(Scalar::I16, filters));
        scratch.push(cx.scratch(Scalar::I16, tiles));
        scratch.push(cx.scratch(Scalar::I32, products));
        wide = Some(largest);
        conv.kernel(cx.target)
    } else if let Summed::Pairs(steps) = summed {
        proven.push(format!("Proven: 16 bits hold the sums of {steps} steps."));
        gemm.pairs = Some(steps * cx.target.dot.k);
        let packed = pack(&gemm, cx.target, product);
        gemm.constants = constants(cx, of_sums(packed, &gemm.requantize));
        gemm.kernel(cx.target)
    } else if let Summed::Chains(packed, chained, _) = summed {
        proven.push(claim(&chained));
        let [unsigned, signed] = chained.counts.map(|(steps, _)| steps);
        let share = signed as f64 / (signed + unsigned) as f64;
        let magnitudes = match slack {
            true => with_magnitudes(cx, windows, elem == Scalar::I8, share),
            false => None,
        };
        if let Some([signed, magnitudes]) = magnitudes {
            gemm.magnitudes = true;
            args.extend((elem == Scalar::U8).then_some(signed));
            args.push(magnitudes);
        }
        gemm.chains = Some(tables(cx, &chained));
        gemm.constants = constants(cx, of_sums(packed, &gemm.requantize));
        gemm.kernel(cx.target)
    } else {
        let (_, capacity) = prove::sums_or_capacity(product, offset(cx.target, elem))?;
        let magnitudes = match slack && elem.bytes() == 1 {
            true => with_magnitudes(cx, windows, elem == Scalar::I8, 1.0),
            false => None,
        };
        if let Some(places) = magnitudes {
            args = places.to_vec();
        }
        if magnitudes.is_some() {
            gemm.elem = Scalar::I8;
        }
        gemm.magnitudes = magnitudes.is_some();
        gemm.capacity = capacity;
        if let Some(words) = gemm.copied_words(cx.target, product) {
            gemm.copied = true;
            proven.push(
                "Windows are copied, widened to 16 bits; each step meets two channels.".into(),
            );
            scratch.push(cx.scratch(Scalar::I32, words));
        }
        if cx.target.dot.raised && elem.bytes() == 1 {
            prove::raised(product, offset(cx.target, elem), gemm.depth(cx.target))?;
        }
        let packed = pack(&gemm, cx.target, product);
        gemm.constants = constants(cx, of_sums(packed, &gemm.requantize));
        gemm.kernel(cx.target)
    };
    kernel.comment = said;
    kernel.comment.extend(spread.as_ref().map(Spread::comment));
    kernel.comment.extend(proven);
    if let Some(largest) = wide {
        let text =
            "Winograd F(2×2, 3×3). Proven: numbers on the way to four times the sums stay within";
        kernel.comment.push(format!("{text} ±{largest}."));
    }
    args.extend(added.into_iter().chain(scratch).chain([to]));
    cx.call(kernel, &args, macs);
    Ok(())
}

/// The product with factors whose shifts all channels share, where the machine multiplies with them and they are
/// proven to give the same results; else as it is.
fn shared(cx: &Lowering, product: &Product, requantize: &Requantize) -> Product {
    // Winograd's sums are scaled otherwise, and fields have no weight of 0 of their own.
    let taken = cx.target.has("scale_shared")
        && cx.target.dot.winograd.is_none()
        && requantize.residual.is_none()
        && requantize.elem.bytes() == 1
        && product.fields.is_none();
    let limits = [requantize.low, requantize.high];
    let shared = || {
        let settled = prove::settled(product, requantize.zero_point, limits);
        let bounds = prove::sums(&settled, offset(cx.target, product.elem)).ok()?;
        let scales = prove::shared(&settled.scales, bounds, requantize.zero_point, limits)?;
        Some(Product { scales, ..settled })
    };
    let shared = taken.then(shared).flatten();
    shared.unwrap_or_else(|| product.clone())
}

/// The product with factors of `scale_even`, where the machine has it and they are proven to give the same results of
/// 8 bits.
fn even(target: &Target, product: &Product, requantize: &Requantize) -> Option<Product> {
    let narrow = product.elem.bytes() == 1 && requantize.elem.bytes() == 1;
    if !target.has("scale_even") || !narrow || requantize.residual.is_some() {
        return None;
    }
    let factor = |(channel, scale): (usize, &Scale)| match scale {
        Scale::Real(real) => Some((*real, prove::reached(product, channel)?)),
        _ => None,
    };
    let factors: Option<Vec<_>> = product.scales.iter().enumerate().map(factor).collect();
    let limits = [requantize.low, requantize.high].map(|y| y - requantize.zero_point);
    Some(Product {
        scales: prove::even(&factors?, limits.into())?,
        ..product.clone()
    })
}

/// Where the sums of a product grow.
enum Summed {
    /// In 16 bits over so many steps.
    Pairs(usize),
    /// In 16 bits over chains of steps, with their work as a part of what it is otherwise.
    Chains(Packed, Box<Chained>, f64),
    /// Each product in 32 bits, or more.
    Wide,
}

impl Summed {
    /// The work of a product as a part of that of a `dot`.
    fn work(&self) -> f64 {
        match self {
            Summed::Pairs(_) => FEW_BITS,
            Summed::Chains(_, _, work) => *work,
            Summed::Wide => 1.0,
        }
    }
}

/// What a product of weights of few bits costs beside a `dot` of them.
const FEW_BITS: f64 = 0.65;

/// The best way of the machine to sum a product that the memory and the weights allow.
fn summed(cx: &Lowering, gemm: &Gemm, product: &Product) -> Summed {
    let channels = gemm.input.extent[3] / gemm.groups;
    let run = gemm.window.runs(&gemm.input, channels).len;
    let whole = run.is_multiple_of(cx.target.dot.k);
    let depth = gemm.window.taps() * channels;
    let taken = product.elem.bytes() == 1 && depth > 0 && (gemm.slack || whole);
    if cx.target.dot.chains.is_none() || !taken {
        return Summed::Wide;
    }
    let unsigned = unsigned_offset(product.elem);
    if product.fields.is_some() && prove::sums(product, unsigned).is_ok() {
        let (low, high) = product.range;
        let steps = prove::pairs(product, (low + unsigned, high + unsigned));
        // A byte's steps stay together.
        let steps = steps.filter(|steps| *steps >= product.form().steps());
        return steps.map_or(Summed::Wide, Summed::Pairs);
    }
    let laid_out = Gemm {
        chains: Some(Chains::default()),
        ..gemm.clone()
    };
    match chain(&laid_out, cx.target, product) {
        Some((packed, chained, work)) if work < WORTH => {
            Summed::Chains(packed, Box::new(chained), work)
        }
        _ => Summed::Wide,
    }
}

/// Chains that promise less are no gain in practice.
const WORTH: f64 = 0.95;

fn tables(cx: &mut Lowering, chained: &Chained) -> Chains {
    let mut table = |name: &str, numbers: &[i32]| {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        cx.constant(name, Scalar::I32, bytes)
    };
    Chains {
        tiles: table("tiles", &chained.tiles),
        starts: table("chains", &chained.starts),
        offsets: table("places", &chained.offsets),
        kinds: chained.counts.map(|(_, chains)| chains > 0),
    }
}

/// What was proven of the chains.
fn claim(chained: &Chained) -> String {
    let [unsigned, signed] = chained.counts;
    let text = format!(
        "Proven: 16 bits hold the sums of {} chains of {} steps",
        unsigned.1 + signed.1,
        unsigned.0 + signed.0
    );
    match signed.0 {
        0 => text + ".",
        steps => text + &format!(", {steps} of them with activations less 128."),
    }
}

/// Activations met at least this often are worth their magnitudes beforehand.
const OFTEN: usize = 4;

/// Inputs of more bytes than this would cost too much memory beside themselves.
const FEW_BYTES: usize = 256 << 10;

/// The input as i8 and its magnitudes, in memory of their own, where the machine gains from them: a `share` of the
/// products takes them.
fn with_magnitudes(
    cx: &mut Lowering,
    windows: &Windows,
    signed: bool,
    share: f64,
) -> Option<[Place; 2]> {
    let ((from, input), (_, output)) = (windows.input, windows.output);
    let vectors = (output.extent[3] / windows.groups).div_ceil(cx.target.dot.lanes);
    let [down, right] = windows.window.strides;
    let reads = vectors * windows.window.taps();
    let often = share * reads as f64 >= (OFTEN * down * right) as f64;
    let last = windows.window.last(&output, &input);
    // A product may read past the last activation, never more than a step.
    let bytes = (last + cx.target.dot.k).next_multiple_of(cx.target.bytes);
    if !cx.target.dot.magnitudes || !often || bytes > FEW_BYTES {
        return None;
    }
    let magnitudes = cx.scratch(Scalar::U8, bytes);
    let name = cx.name("magnitudes");
    let kernel = magnitude::magnitudes(&name, signed, bytes, cx.target);
    if signed {
        cx.call(kernel, &[from, magnitudes], 0);
        return Some([from, magnitudes]);
    }
    let shifted = cx.scratch(Scalar::I8, bytes);
    cx.call(kernel, &[from, shifted, magnitudes], 0);
    Some([shifted, magnitudes])
}

/// Sums that are results have no scales.
fn of_sums(packed: Packed, requantize: &Requantize) -> Packed {
    match requantize.keeps_sums() {
        true => Packed {
            scales: vec![],
            ..packed
        },
        false => packed,
    }
}

pub(super) fn constants(cx: &mut Lowering, packed: Packed) -> Names {
    Names {
        // A phase of a transposed convolution that no tap reaches has none.
        weights: match packed.weights.is_empty() {
            true => String::new(),
            false => cx.constant("weights", Scalar::I8, packed.weights),
        },
        lows: match packed.lows.is_empty() {
            true => String::new(),
            false => cx.constant("lows", Scalar::I8, packed.lows),
        },
        high: match packed.high.is_empty() {
            true => String::new(),
            false => cx.constant("high", Scalar::I32, packed.high),
        },
        bias: cx.constant("bias", Scalar::I32, packed.bias),
        places: packed.places,
        scales: match (
            packed.scales.is_empty(),
            packed.shifts.is_empty() && packed.places.is_none(),
        ) {
            (true, _) => String::new(),
            (false, true) => cx.constant("scales", Scalar::F32, packed.scales),
            (false, false) => cx.constant("multipliers", Scalar::I32, packed.scales),
        },
        shifts: match packed.shifts.is_empty() {
            true => String::new(),
            false => cx.constant("shifts", Scalar::I32, packed.shifts),
        },
    }
}

/// The layer, its shapes and scales, and what was proven.
fn comment(
    cx: &Lowering,
    node: &Node,
    windows: &Windows,
    product: &Product,
) -> Result<Vec<String>> {
    let x = node.inputs[0].expect("`infer` demands an input");
    let comparable = match product.elem.bytes() {
        1 => 0,
        _ => offset(cx.target, product.elem),
    };
    let (Bounds { sum, scaled }, capacity) = prove::sums_or_capacity(product, comparable)?;
    let Window {
        extent: [rows, cols],
        steps,
        strides,
    } = windows.window;
    let mut window = format!("Window {rows}×{cols}");
    for (what, pair) in [("steps", steps), ("strides", strides)] {
        if pair != [1, 1] {
            window += &format!(", {what} {}×{}", pair[0], pair[1]);
        }
    }
    if windows.groups > 1 {
        window += &format!(", {} groups", windows.groups);
    }
    let tensor = |id: TensorId| {
        let (scale, zero_point) = cx.quant(id);
        format!(
            "{:?} (scale {scale:e}, zero point {zero_point})",
            cx.shape(id)
        )
    };
    let mut lines = vec![
        format!("{}: {}", node.op.name(), tensor(x)),
        format!("to {}.", tensor(node.output)),
        format!(
            "{window}. Proven: sums stay within ±{sum}, scaled ones within ±{:.0}.",
            scaled.ceil()
        ),
    ];
    if let Some(most) = capacity {
        lines.push(format!(
            "Sums of {most} products stay within 32 bits; they are moved to wider ones."
        ));
    }
    if let Form::Fields { bits, .. } = product.form() {
        let (count, packed) = (8 / bits, product.weights.len() * bits / 8);
        lines.push(format!(
            "{} weights of {bits} bits, {count} to a byte: {packed} bytes and padding.",
            product.weights.len()
        ));
    }
    Ok(lines)
}

/// The four extents of an image or of a convolution's weights.
pub(super) fn four(shape: &[usize]) -> [usize; 4] {
    shape.try_into().expect("`infer` demands four axes")
}
