"""What emitted C executes in an emulator: MACs an instruction (a packet on Hexagon), in integers and in floating point.

    python executed.py [--qcc FILE] [--targets WORD,..] [word ...]

Networks are quantized by qcc with 8 bits, and compiled in floating point (`--precision f32`) beside it; `qcc bench`
counts each in the machine's emulator, whose counts are the same in every run. Prints two tables:
- a line a network, for each machine the MACs of an instruction, and how many times as many instructions the network in
  floating point executes;
- a line a kind of layers, over all the networks: the MACs of an instruction, and the part of the instructions that
  multiply and add up; before them what the best instruction does.
The best compiler of each machine counts: the newest clang where there is one, else gcc.
"""

import argparse
import json
import subprocess
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tasks import REPOSITORY, WORK, available

NETWORKS = [
    "mlperf_ic_resnet8_f32",
    "mlperf_kws_dscnn_f32",
    "mlperf_vww_mbv1_f32",
    "mlperf_ad_autoencoder_f32",
    "resnet20_dyn18_ext",
    "mobilenet_v1_0.25_224_f32",
    "mobilenet_v2_1.0_224_ptq_int8pc_float",
]
# Each with the most MACs that an instruction can do: smlal, sdot, smmla, two vrmpy in a packet, smlad, vmladav.
MACHINES = {
    "aarch64-neon": 8,
    "aarch64-neon-dotprod": 16,
    "aarch64-neon-i8mm": 32,
    "hexagon-hvx": 256,
    "cortex-m4": 2,
    "cortex-m55": 16,
}
KINDS = ["first convolution", "convolution", "pointwise", "depthwise", "dense", "other"]


def ask(qcc, *words):
    """What a command prints as JSON; nothing if the machine does not hold the network."""
    found = subprocess.run([str(word) for word in (qcc, *words, "--json")], capture_output=True, text=True)
    if found.returncode and ("overflowed by" in found.stderr or "will not fit" in found.stderr):
        return None
    if found.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {found.stderr}")
    return json.loads(found.stdout)


def kind(layer, place):
    """The family of kernels that a layer needs."""
    if layer["operator"] in ("MatMul", "Gemm"):
        return "dense"
    if layer["operator"] != "Conv":
        return "other"
    outputs, inputs, *window = layer["weights"]
    if place == 0:
        return "first convolution"
    if inputs == 1 and layer["groups"] == outputs:
        return "depthwise"
    return "pointwise" if all(extent == 1 for extent in window) else "convolution"


def kinds(qcc, common):
    """Each layer's kind by its name."""
    layers = ask(qcc, "inspect", *common)["layers"]
    multiplied = [layer["name"] for layer in layers if layer["macs"]]
    return {layer["name"]: kind(layer, (multiplied + [layer["name"]]).index(layer["name"])) for layer in layers}


def count(qcc, task, machines):
    """For each machine: counts of the integers, counts of floating point, and kinds of layers."""
    folder = WORK / "executed" / task.name
    folder.mkdir(parents=True, exist_ok=True)
    samples = task.load()
    np.savez(folder / "calibrate.npz", **samples.take(samples.calibration[:8]))
    dims = [word for name, value in task.dims.items() for word in ("--dim", f"{name}={value}")]
    common = [task.model, *dims, "--calibrate", folder / "calibrate.npz"]
    found = {}
    for machine in machines:
        integers = ask(qcc, "bench", *common, "--target", machine)
        reals = integers and ask(qcc, "bench", task.model, *dims, "--target", machine, "--precision", "f32")
        found[machine] = (integers, reals)
    return found, kinds(qcc, common)


def networks_table(rows, machines):
    print(f"| network | MACs | {' | '.join(f'`{machine}`' for machine in machines)} |")
    print("|---|--:" + "|--:" * len(machines) + "|")
    for task, (found, _) in rows:
        cells = []
        for integers, reals in found.values():
            if not integers:
                cells.append("too large")
                continue
            cell = f"{integers['macs'] / integers['executed']:.2f}"
            ratio = f" ({reals['executed'] / integers['executed']:.1f}×)" if reals else ""
            cells.append(cell + ratio)
        macs = max(integers["macs"] for integers, _ in found.values() if integers)
        print(f"| {task.name} | {macs:,} | {' | '.join(cells)} |")


def kinds_table(rows, machines):
    sums = defaultdict(lambda: [0, 0, 0])
    for _, (found, names) in rows:
        for machine, (integers, _) in found.items():
            for layer in integers["layers"] if integers else []:
                cell = sums[names.get(layer["name"], "other"), machine]
                for i, key in enumerate(("macs", "products", "executed")):
                    cell[i] += layer[key]
    print(f"| layers | {' | '.join(f'`{machine}`' for machine in machines)} |")
    print("|---" + "|--:" * len(machines) + "|")
    print(f"| at most | {' | '.join(str(MACHINES[machine]) for machine in machines)} |")
    for name in KINDS:
        cells = []
        for machine in machines:
            macs, products, executed = sums[name, machine]
            total = sum(cell[2] for (_, m), cell in sums.items() if m == machine)
            share = f"{100 * executed / total:.0f} %" if total else ""
            if name == "other":
                cells.append(f"{share} of all")
            else:
                cells.append(f"{macs / max(executed, 1):.2f}, {products / max(executed, 1):.2f}, {share} of all")
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qcc", type=Path, default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--targets", default="")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    words = [word for word in arguments.targets.split(",") if word]
    machines = [machine for machine in MACHINES if not words or any(word in machine for word in words)]
    tasks = [task for task in available(arguments.words or NETWORKS) if task.name in NETWORKS or arguments.words]
    with ThreadPoolExecutor(2) as pool:
        rows = list(zip(tasks, pool.map(lambda task: count(arguments.qcc, task, machines), tasks)))
    networks_table(rows, machines)
    print()
    kinds_table(rows, machines)


if __name__ == "__main__":
    main()
