"""Static int8 quantization of a network by ONNX Runtime, the way its documentation recommends for x86."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.tools.onnx_model_utils import make_input_shape_fixed

onnxruntime.set_default_logger_severity(3)
# Quantization of each channel on its own needs this version of the operators.
OPSET = 13
MOVES = ["Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"]


class Reader(CalibrationDataReader):
    """Samples one at a time, as the quantizer asks for them."""

    def __init__(self, inputs):
        count = len(next(iter(inputs.values())))
        self.samples = iter([{name: x[i : i + 1] for name, x in inputs.items()} for i in range(count)])

    def get_next(self):
        return next(self.samples, None)


def prepared(path, inputs):
    """The network with the shapes of the inputs, constants that are no inputs, and an operator set that is new enough."""
    model = onnx.load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    for port in [p for p in model.graph.input if p.name in constants]:
        model.graph.input.remove(port)
    for port in model.graph.input:
        make_input_shape_fixed(model.graph, port.name, [1, *inputs[port.name].shape[1:]])
    versions = {o.domain: o.version for o in model.opset_import}  # some exporters list a domain twice
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*v) for v in versions.items())
    if versions[""] < OPSET:
        model.ir_version = max(model.ir_version, 7)
        model = version_converter.convert_version(model, OPSET)
    return model


def quantize(path, inputs, output, method="MinMax"):
    """Writes the network with quantized weights (s8, one scale a channel where it can) and activations (u8, by a method of calibration)."""
    with tempfile.TemporaryDirectory() as folder:
        float_model, simpler = Path(folder) / "float.onnx", Path(folder) / "simpler.onnx"
        onnx.save(prepared(path, inputs), float_model)
        quant_pre_process(float_model, simpler, skip_symbolic_shape=True)
        options = {
            "quant_format": QuantFormat.QDQ,
            "per_channel": True,
            "activation_type": QuantType.QUInt8,
            "weight_type": QuantType.QInt8,
            "calibrate_method": CalibrationMethod[method],
        }
        try:
            quantize_static(simpler, output, Reader(inputs), **options)
        except ValueError:
            # A bias of two dimensions is not understood with one scale a channel.
            options["per_channel"] = False
            quantize_static(simpler, output, Reader(inputs), **options)


def past_moves(name, neighbours, side):
    """The first node from an end of a network that does more than move numbers, and the last one that does not."""
    mover = None
    while True:
        (node,) = neighbours(name)
        if node.op_type not in MOVES:
            return node, mover
        name, mover = getattr(node, side)[0], node


def integer_ports(path, output):
    """Writes a quantized network of one input and one output without the conversions from and to float at its ends.

    Nodes that only move numbers may stand before and behind the conversions.
    """
    model = onnx.load(path)
    graph = model.graph
    first, mover = past_moves(graph.input[0].name, lambda name: [n for n in graph.node if name in n.input], "output")
    last, moved = past_moves(graph.output[0].name, lambda name: [n for n in graph.node if name in n.output], "input")
    if first.op_type != "QuantizeLinear" or last.op_type != "DequantizeLinear":
        raise ValueError(f"{path}: {first.op_type} and {last.op_type} stand at the ends, no conversions")
    if mover:
        mover.output[0] = first.output[0]
    else:
        graph.input[0].name = first.output[0]
    if moved:
        moved.input[0] = last.input[0]
    else:
        graph.output[0].name = last.input[0]
    for port in (graph.input[0], graph.output[0]):
        port.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    for node in (first, last):
        graph.node.remove(node)
    del graph.value_info[:]  # the types of what is moved
    onnx.save(model, output)


def session(path, exact=False, threads=0):
    """A session on the processor.

    `exact` evaluates Q/DQ graphs as they are written: its int8 kernels saturate sums on x86 without VNNI.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if exact:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session, inputs):
    """Each output for all samples, the first axis being the sample."""
    count = len(next(iter(inputs.values())))
    answers = [session.run(None, {name: x[i : i + 1] for name, x in inputs.items()}) for i in range(count)]
    return [np.stack(parts) for parts in zip(*answers)]
