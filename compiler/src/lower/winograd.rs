//! Which convolutions are computed by Winograd's F(2×2, 3×3).

use crate::kernel::Scalar;
use crate::kernels::{Form, Names, Product, Requantize, Winograd, winograd};
use crate::lower::Lowering;
use crate::lower::product::{Windows, constants};
use crate::prove;

/// The convolution, beside which products take `work` of a `dot` each, with its scratch memory still to be given, and the largest number that it meets; none where
/// the window, the memory, the machine's costs or the proof speak against it.
pub(super) fn choose(
    cx: &mut Lowering,
    name: &str,
    windows: &Windows,
    product: &Product,
    (requantize, slack): (&Requantize, bool),
    work: f64,
) -> Option<(Winograd, i64)> {
    let ((_, input), (_, output)) = (windows.input, windows.output);
    let vector = cx.target.lanes * cx.target.depthwise.taps;
    let readable = slack || input.extent[3].is_multiple_of(vector);
    let form = product.form();
    let stored = matches!(
        form,
        Form::Bytes { parts: 1 } | Form::Fields { each: false, .. }
    );
    let taken = stored
        && product.elem.bytes() == 1
        && !requantize.keeps_sums()
        && windows.groups == 1
        && winograd::takes(&windows.window, &output);
    if !taken || !readable || !pays(cx, windows, work) {
        return None;
    }
    let largest = prove::winograd(product)?;
    let mut conv = Winograd {
        name: name.to_string(),
        comment: vec![],
        form,
        input,
        input_signed: product.elem == Scalar::I8,
        output,
        requantize: requantize.clone(),
        constants: Names::default(),
        tables: Default::default(),
    };
    let packed = conv.pack(cx.target, product);
    conv.constants = constants(cx, packed);
    for axis in 0..2 {
        if let Some(firsts) = conv.firsts(axis) {
            let bytes = firsts.iter().flat_map(|x| x.to_le_bytes()).collect();
            conv.tables[axis] = cx.constant("tiles", Scalar::I32, bytes);
        }
    }
    Some((conv, largest))
}

/// Whether the machine does less work this way than otherwise, where products are `work` of a `dot` each.
fn pays(cx: &Lowering, windows: &Windows, work: f64) -> bool {
    let Some(cost) = &cx.target.dot.winograd else {
        return false;
    };
    let [images, height, width, outputs] = windows.output.1.extent.map(|x| x as u64);
    let inputs = windows.input.1.extent[3] as u64;
    let tiles = height.div_ceil(2) * width.div_ceil(2);
    let pairs = inputs * outputs;
    let transformed =
        (16 * tiles + cost.filter) * pairs + tiles * (cost.tile * inputs + cost.results * outputs);
    let direct = images * 9 * height * width * pairs;
    ((images * transformed) as f64) < direct as f64 * work
}
