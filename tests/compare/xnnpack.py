"""Instructions of matrix products on 64-bit ARM: emitted C beside XNNPACK's microkernels, compiled by the same compilers.

    git clone --depth 1 https://github.com/google/XNNPACK FOLDER
    python xnnpack.py --xnnpack FOLDER [--qcc FILE]

Each product is a pointwise convolution of i8 with a scale for each output channel (pixels × input channels × output
channels). XNNPACK's are its kernels of the same numbers (qs8-qc8w-gemm, 16 columns) for the same instructions. Both run
in QEMU, and the plugin of `qcc bench` counts what they execute: of XNNPACK the calls for all rows, of qcc the layer,
with its address arithmetic. Prints, for each compiler, qcc's thousands of instructions, those of XNNPACK's best kernel
in C, and of its best in assembly.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks import REPOSITORY, WORK

PRODUCTS = [(14, 256, 256), (7, 512, 512), (28, 128, 128)]
COMPILERS = ["aarch64-linux-gnu-gcc", "clang-19 --target=aarch64-linux-gnu"]
# The instructions that a kernel's name ends in, by machine.
MACHINES = {"aarch64-neon-dotprod": "neondot", "aarch64-neon-i8mm": "neoni8mm"}
FLAGS = "-O3 -w -DNDEBUG -march=armv8.2-a+dotprod+i8mm -static".split()
PREFIX = "xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_"
MAIN = """
#include <stdlib.h>
#include <string.h>
#include "src/xnnpack/common.h"
#include "src/xnnpack/microparams.h"
void KERNEL(size_t, size_t, size_t, const int8_t *, size_t, const void *, int8_t *, size_t, size_t,
            const union xnn_qs8_qc8w_conv_minmax_params *);
__attribute__((noinline)) void qcc_mark(void) { __asm__ volatile(""); }
int main(int count, char **words)
{
    size_t rows = atoi(words[1]), depth = atoi(words[2]), columns = atoi(words[3]);
    size_t block = 128 + depth * 16;
    int8_t *a = malloc(rows * depth + 64), *c = malloc(rows * columns + 64);
    char *w = calloc(columns / 16 * block + 64, 1);
    union xnn_qs8_qc8w_conv_minmax_params params;
    memset(a, 1, rows * depth);
    /* For 16 columns: biases, weights of 2, scales. */
    for (size_t n = 0; n < columns / 16; n++) {
        float *scales = (float *)(w + n * block + 64 + depth * 16);
        memset(w + n * block + 64, 2, depth * 16);
        for (int i = 0; i < 16; i++)
            scales[i] = 0.01f;
    }
    memset(&params, 0, sizeof params);
    params.fp32_neonv8.output_zero_point = 3;
    params.fp32_neonv8.output_min = (uint8_t)-128;
    params.fp32_neonv8.output_max = 127;
    qcc_mark();
    for (size_t m = 0; m < rows; m += ROWS)
        KERNEL(rows - m < ROWS ? rows - m : ROWS, columns, depth, a + m * depth, depth, w, c + m * columns, columns, 16,
               &params);
    qcc_mark();
    for (size_t i = 0; i < rows * columns; i++)
        if (c[i] != (int8_t)(2 * depth * 0.01f + 3.5f))
            return 2;
    return 0;
}
"""


def plugin(folder):
    """The plugin that counts, compiled."""
    source = (REPOSITORY / "codegen-templates" / "count.c.j2").read_text()
    (folder / "count.c").write_text(source)
    subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "count.c", "-o", "count.so"], cwd=folder, check=True)
    return folder / "count.so"


def theirs(folder, root, file, compiler, counter):
    """Instructions of a kernel for each product; nothing where the compiler does not take it."""
    kernel = re.search(PREFIX + r"\w+", file.read_text()).group()
    rows = re.search(r"gemm-(\d+)x", file.name).group(1)
    sources = [folder / "main.c", file, f"-DKERNEL={kernel}", f"-DROWS={rows}"]
    includes = [f"-I{path}" for path in (folder, root, root / "include", root / "src")]
    command = [*compiler.split(), *FLAGS, *includes, *map(str, sources), "-o", str(folder / "kernel")]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    counts = []
    for side, depth, columns in PRODUCTS:
        out = folder / "counts.txt"
        run = ["qemu-aarch64", "-cpu", "max", "-plugin", f"file={counter},out={out}", "-d", "plugin"]
        run += [str(folder / "kernel"), *map(str, (side * side, depth, columns))]
        subprocess.run(run, check=True, capture_output=True)
        counts.append(int(out.read_text().split()[0]))
    return counts


def network(folder, side, depth, columns):
    """A pointwise convolution of i8, quantized."""
    random = np.random.default_rng(depth)
    scales = random.uniform(0.001, 0.002, columns).astype(np.float32)
    weights = np.clip(np.rint(random.normal(0, 35, (columns, depth, 1, 1))), -127, 127).astype(np.int8)
    constants = {
        "weights": weights,
        "weights_scale": scales,
        "weights_zero": np.zeros(columns, np.int8),
        "bias": random.integers(-2000, 2000, columns).astype(np.int32),
        "bias_scale": scales * np.float32(0.02),
        "bias_zero": np.zeros(columns, np.int32),
        "x_scale": np.float32(0.02),
        "x_zero": np.int8(-3),
        "y_scale": np.float32(0.05),
        "y_zero": np.int8(3),
    }
    quantized = [("x", "x_scale", "x_zero", "q"), ("z", "y_scale", "y_zero", "r")]
    reals = [("q", "x_scale", "x_zero", "a"), ("r", "y_scale", "y_zero", "y")]
    parameters = [(name, f"{name}_scale", f"{name}_zero", f"{name}_reals") for name in ("weights", "bias")]
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", quantized[0][:3], quantized[0][3:]),
        make("DequantizeLinear", reals[0][:3], reals[0][3:]),
        *(make("DequantizeLinear", p[:3], p[3:], axis=0) for p in parameters),
        make("Conv", ["a", "weights_reals", "bias_reals"], ["z"], name="product"),
        make("QuantizeLinear", quantized[1][:3], quantized[1][3:]),
        make("DequantizeLinear", reals[1][:3], reals[1][3:]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "product",
        [value("x", TensorProto.FLOAT, [1, depth, side, side])],
        [value("y", TensorProto.FLOAT, [1, columns, side, side])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    path = folder / f"product-{side * side}-{depth}-{columns}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def ours(qcc, path, machine, compiler):
    """Instructions of the product's layer."""
    command = [qcc, "bench", path, "--target", machine, "--compiler", compiler.split()[0], "--json"]
    found = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    layers = json.loads(found.stdout)["layers"]
    return max(layer["executed"] for layer in layers if layer["macs"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qcc", type=Path, default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--xnnpack", type=Path, required=True)
    arguments = parser.parse_args()
    folder = WORK / "xnnpack"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.c").write_text(MAIN)
    # XNNPACK's headers name the pool of threads, of which kernels use nothing.
    (folder / "pthreadpool.h").write_text("#include <stdbool.h>\ntypedef struct pthreadpool *pthreadpool_t;\n")
    counter = plugin(folder)
    paths = [network(folder, *product) for product in PRODUCTS]
    print("| machine | compiler | product | qcc | XNNPACK, C | XNNPACK, assembly |")
    print("|---|---|---|--:|--:|--:|")
    for machine, ending in MACHINES.items():
        pattern = f"src/qs8-qc8w-gemm/gen/qs8-qc8w-gemm-[4568]x16*-{ending}*"
        files = [file for file in sorted(arguments.xnnpack.glob(pattern)) if "aarch32" not in file.name]
        for compiler in COMPILERS:
            counted = {}
            for file in files:
                counts = theirs(folder, arguments.xnnpack, file, compiler, counter)
                if counts:
                    counted[file] = counts
            for i, (side, depth, columns) in enumerate(PRODUCTS):
                best = {}
                for suffix in (".c", ".S"):
                    found = [(counts[i], file.stem) for file, counts in counted.items() if file.suffix == suffix]
                    best[suffix] = min(found) if found else None
                cells = [
                    f"{count / 1e3:,.0f} ({name.removeprefix('qs8-qc8w-gemm-').split('-')[0]})" if found else "none"
                    for found in best.values()
                    for count, name in [found or (0, "")]
                ]
                mine = ours(arguments.qcc, paths[i], machine, compiler)
                product = f"{side * side} × {depth} × {columns}"
                print(f"| `{machine}` | {compiler.split()[0]} | {product} | {mine / 1e3:,.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
