"""Instructions that emitted programs execute in one evaluation, counted by valgrind: the same in every run.

    python counts.py [--qcc FILE]                 # counts, and writes the table of counts.md
    python counts.py [--qcc FILE] --check         # counts, and compares with the table
    python counts.py [--qcc FILE] --layers NAME   # one network, layer by layer

C for x86_64-avx2, compiled with -O3, each layer a function of its own. The networks are those of the repository, and
topologies with random weights. Counts depend on the version of a compiler: one that the table does not name is skipped.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tasks import OWN, REPOSITORY, WORK
from timing import AVX2, random_task

TABLE = Path(__file__).parent / "counts.md"
NETWORKS = [
    "digits",
    "restore",
    "mlp",
    "autoencoder",
    "dscnn",
    "resnet8",
    "mobilenet_v1_0.25_96",
    "mobilenet_v3_small",
]
COMPILERS = ["gcc", "clang-19"]
# Percent that a count may grow by.
SLACK = 1
MAIN = """
#include "network.h"
static unsigned char input[4 * NETWORK_INPUT_SIZE], output[4 * NETWORK_OUTPUT_SIZE];
static _Alignas(64) unsigned char arena[NETWORK_ARENA_BYTES];
int main(void) {
    for (unsigned i = 0; i < sizeof input; i++)
        input[i] = (unsigned char)(i * 37);
    return network_run((void *)input, (void *)output, arena);
}
"""


def version(command):
    """Name and version of a compiler, or nothing if it is not there."""
    try:
        text = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        return None
    return f"{command.split('-')[0]} {re.search(r'[0-9]+[.][0-9]+[.][0-9]+', text).group()}"


def emit(qcc, name):
    """Writes a network's C, and returns its folder and its layers: name and multiply-accumulates."""
    folder = WORK / "counts" / name
    folder.mkdir(parents=True, exist_ok=True)
    if (OWN / f"{name}.onnx").exists():
        model, samples = OWN / f"{name}.onnx", OWN / f"{name}.npz"
    else:
        task = random_task(name)
        model, samples = task.model, folder / "calibrate.npz"
        np.savez(samples, **task.load().inputs)
    common = [model, "--calibrate", samples]
    options = ["--target", AVX2, "--name", "network", "-o", folder / "network.c"]
    subprocess.run([qcc, "compile", *common, *options], check=True, capture_output=True)
    inspected = subprocess.run([qcc, "inspect", "--json", *common], check=True, capture_output=True).stdout
    code = (folder / "network.c").read_text()
    code = re.sub(r"^static void ", "static __attribute__((noinline)) void ", code, flags=re.MULTILINE)
    (folder / "network.c").write_text(code)
    (folder / "main.c").write_text(MAIN)
    return folder, {layer["name"]: layer["macs"] for layer in json.loads(inspected)["layers"]}


def count(folder, compiler):
    """Instructions of each function in one evaluation."""
    flags = tomllib.loads((REPOSITORY / "targets" / f"{AVX2}.toml").read_text())["c"]["flags"]
    program, profile = folder / compiler, folder / f"{compiler}.callgrind"
    sources = [folder / "main.c", folder / "network.c"]
    subprocess.run([compiler, "-std=c11", "-O3", *flags, *sources, "-o", program], check=True)
    options = ["--toggle-collect=network_run", "--compress-strings=no", f"--callgrind-out-file={profile}"]
    command = ["valgrind", "--tool=callgrind", *options, program]
    # Without this the first call of a library's function would count how it is looked up.
    environment = {**os.environ, "LD_BIND_NOW": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    functions, name, called = {}, None, False
    for line in profile.read_text().splitlines():
        if line.startswith("fn="):
            # What a compiler splits off keeps the name of the whole.
            name = line[3:].split(".")[0]
        elif line.startswith("calls="):
            called = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            # The line behind a call says what the called function, which has its own lines, took.
            if not called:
                functions[name] = functions.get(name, 0) + int(line.split()[1])
            called = False
    return functions


def read():
    """Counts of the table, by compiler and network."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.read_text().splitlines() if "|" in line]
    head, _, *rows = rows
    number = lambda cell: int(cell.replace(",", ""))
    columns = [i for i, cell in enumerate(head) if cell.split()[0] in ("gcc", "clang")]
    return {head[i]: {row[0]: number(row[i]) for row in rows} for i in columns}


def present():
    """The compilers that are there, by name and version."""
    found = {version(compiler): compiler for compiler in COMPILERS}
    return {name: compiler for name, compiler in found.items() if name}


def totals(qcc, compilers):
    """Of each network: its name, multiply-accumulates, and instructions by name of the compiler."""

    def one(network):
        folder, layers = emit(qcc, network)
        counts = {name: sum(count(folder, compiler).values()) for name, compiler in compilers.items()}
        return network, sum(layers.values()), counts

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(one, NETWORKS)


def write(qcc):
    compilers = present()
    head = ["network", "MACs"] + [cell for name in compilers for cell in (name, "MACs an instruction")]
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    for network, macs, counts in totals(qcc, compilers):
        row = [network, f"{macs:,}"]
        for total in counts.values():
            row += [f"{total:,}", f"{macs / total:.2f}"]
        lines.append(f"| {' | '.join(row)} |")
    text = TABLE.read_text()
    TABLE.write_text(text[: text.index("| network")] + "\n".join(lines) + "\n")


def check(qcc):
    """Says what is skipped and which counts grew, and whether none did."""
    table, compilers = read(), present()
    for name in [name for name in table if name not in compilers]:
        print(f"skipped: instructions by {name}, there is {', '.join(compilers) or 'no compiler'}")
    wanted = {name: compiler for name, compiler in compilers.items() if name in table}
    good = True
    for network, _, counts in totals(qcc, wanted) if wanted else []:
        for name, total in counts.items():
            before = table[name][network]
            change = 100 * (total / before - 1)
            line = f"{network}, {name}: {total:,} instructions, {change:+.2f} % beside the {before:,} of {TABLE.name}"
            good &= change <= SLACK
            print(f"{'grew: ' if change > SLACK else ''}{line}")
    if not good:
        print("if more instructions are meant, `python tests/compare/counts.py` writes the table anew")
    return good


def layers(qcc, name):
    """Prints instructions and multiply-accumulates of each layer; a function that layers share counts for its first."""
    folder, macs = emit(qcc, name)
    prefixes = {re.sub(r"\W+", "_", layer).strip("_").lower() + "_": layer for layer in macs}
    for compiler_name, compiler in present().items():
        by_layer, functions = {}, count(folder, compiler)
        for function, instructions in functions.items():
            owners = [p for p in prefixes if f"{function}_".startswith(p)]
            layer = prefixes[max(owners, key=len)] if owners else function
            by_layer[layer] = by_layer.get(layer, 0) + instructions
        total = sum(functions.values())
        print(f"| {compiler_name} | instructions | % | MACs | MACs an instruction |\n|---|--:|--:|--:|--:|")
        order = [layer for layer in macs if layer in by_layer] + [layer for layer in by_layer if layer not in macs]
        for layer in order:
            n, m = by_layer[layer], macs.get(layer, 0)
            print(f"| {layer} | {n:,} | {100 * n / total:.1f} | {m:,} | {f'{m / n:.2f}' if m else ''} |")
        print(f"| total | {total:,} | 100.0 | {sum(macs.values()):,} | {sum(macs.values()) / total:.2f} |\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the table")
    parser.add_argument("--layers", metavar="NAME", help="one network, layer by layer", choices=NETWORKS)
    arguments = parser.parse_args()
    if arguments.layers:
        layers(arguments.qcc, arguments.layers)
    elif arguments.check:
        sys.exit(0 if check(arguments.qcc) else 1)
    else:
        write(arguments.qcc)


if __name__ == "__main__":
    main()
