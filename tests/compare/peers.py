"""Speed of emitted programs beside the runtimes that people use, on one thread, in one run.

    python peers.py [--target T] [--qcc FILE] [--rounds N] [--seconds S] [--peers WORDS] [word ...]

Each way of running a network is a process of its own on the same core; the rounds go through all of them in turn, so
that whatever else the machine does meets all alike. A round gives the median of its evaluations, or the processor time
of one where others had the processor in between; the table gives the best round.
Peers run ONNX Runtime's int8 quantization of the same network, with integers in and out as qcc's programs have them,
and the float network; LiteRT, which reads no ONNX, an int8 file of the same network where there is one. Beside AVX2
programs they are held to AVX2 (held.py).
The runtimes are installed under target/compare/peers at the first run; that of tract and rten takes minutes.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import onnx

import held
import ort_int8
from tasks import REPOSITORY, SHARED, WORK, available
from timing import AVX2, WORKERS, Clock, Failed, Worker, calibration, pin, processor, random_task
from topologies import TOPOLOGIES

# Each network by its shape, and the trained one that stands for it where it is found; some have no shape of our own.
NETWORKS = {
    "mlp": None,
    "digits": "digits",
    "autoencoder": "mlperf_ad_autoencoder_f32",
    "dscnn": "mlperf_kws_dscnn_f32",
    "resnet8": "mlperf_ic_resnet8_f32",
    "resnet20": "resnet20_dyn18",
    "mobilenet_v1_0.25_96": "mlperf_vww_mbv1_f32",
    "mobilenet_v1_0.25": "mobilenet_v1_0.25_224_f32",
    "mobilenet_v3_small": None,
    "mobilenet_v2": "mobilenet_v2_1.0_224_ptq",
    "squeezenet_1.1": None,
    "efficientnet_lite0": None,
    "mobilenet_v1": None,
    "resnet18": None,
    "resnet50": None,
    "inception_v3": None,
}
QCC = ["qcc C, gcc", "qcc C, clang-19", "qcc Rust"]
# Name of a peer, and the argument that worker.py knows it by or the program.
RUNTIMES = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino", "LiteRT": "litert", "tract": "tract", "rten": "rten"}
EXACT = "ONNX Runtime int8, exact"
PEERS = WORK / "peers"


def run(*command, **options):
    subprocess.run([str(part) for part in command], check=True, **options)


def install(target):
    """The commands that run peers, by the argument of RUNTIMES, and their environment."""
    environment = PEERS / "venv"
    packages = environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    wanted = (WORKERS / "requirements.txt").read_text()
    stamp = environment / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        run(sys.executable, "-m", "venv", "--clear", environment)
        pip = [environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "-r", WORKERS / "requirements.txt")
        stamp.write_text(wanted)
    cargo = ["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", WORKERS / "Cargo.toml"]
    run(*cargo, "--target-dir", PEERS / "cargo")
    programs = {name: PEERS / "cargo" / "release" / name for name in ("tract", "rten")}
    variables = None
    if target == AVX2:
        folder, made_from = PEERS / "avx2", wanted + (WORKERS / "Cargo.lock").read_text()
        stamp = folder / "made-from.txt"
        if not stamp.exists() or stamp.read_text() != made_from:
            shutil.rmtree(folder, ignore_errors=True)
            for package in ("onnxruntime", "openvino", "ai_edge_litert"):
                held.copy(packages / package, folder)
            for program in programs.values():
                held.copy(program, folder)
            stamp.write_text(made_from)
        variables = held.environment(folder)
        programs = {name: folder / name for name in programs}
    script = [environment / "bin" / "python", WORKERS / "worker.py"]
    return lambda runtime: [programs[runtime]] if runtime in programs else [*script, runtime], variables


def emitted(qcc, target, task, folder):
    """The emitted program of each compiler; its multiply-accumulates are left in the folder's header."""
    machine = tomllib.loads((REPOSITORY / "targets" / f"{target}.toml").read_text())
    common = ["--calibrate", folder / "calibrate.npz", "--target", target, "--name", "network"]
    for file in ("network.c", "network.rs"):
        run(qcc, "compile", task.model, *common, "-o", folder / file, capture_output=True)
    for compiler in ("gcc", "clang-19"):
        if shutil.which(compiler):
            options = ["-O3", *machine["c"]["flags"], f"-I{folder}"]
            run(compiler, *options, WORKERS / "emitted.c", folder / "network.c", "-o", folder / compiler)
            yield f"qcc C, {compiler}", folder / compiler
    shutil.copy(WORKERS / "emitted.rs", folder)
    shutil.copy(WORKERS / "src" / "lib.rs", folder / "worker.rs")
    features = ",".join(f"+{feature}" for feature in machine["rust"]["features"])
    options = ["--edition=2024", "-Copt-level=3", f"-Ctarget-feature={features}"]
    run("rustc", *options, "emitted.rs", "-o", "rustc", cwd=folder)
    yield "qcc Rust", folder / "rustc"


def models(task, folder, chosen):
    """The files that peers read, by name of the way: int8 and float."""
    ports, real, made_from = (folder / f"{name}.onnx" for name in ("int8", "f32", "made-from"))
    if not ports.exists() or not made_from.exists() or made_from.read_bytes() != task.model.read_bytes():
        quantized = folder / "quantized.onnx"
        ort_int8.quantize(task.model, chosen, quantized)
        ort_int8.integer_ports(quantized, ports)
        onnx.save(ort_int8.prepared(task.model, chosen), real)
        shutil.copy(task.model, made_from)
    stem = task.name.removesuffix("_f32").removesuffix("_float")
    lite = sorted((SHARED / "tflite").glob(f"{stem}_*.tflite")) + sorted((SHARED / "tflite").glob(f"{stem}.tflite"))
    for precision, file in (("int8", ports), ("f32", real)):
        for peer, runtime in RUNTIMES.items():
            if peer != "LiteRT":
                yield f"{peer} {precision}", runtime, file
            elif precision == "int8" and lite and not task.name.endswith("*"):
                yield f"{peer} int8", runtime, lite[0]
        if precision == "int8":
            yield EXACT, "onnxruntime-exact", ports


def measure(arguments, task, command, variables):
    """Microseconds, and cycles where they are counted, of each way; what failed, and why; MACs; the clock in GHz."""
    folder = PEERS / arguments.target / task.model.stem
    folder.mkdir(parents=True, exist_ok=True)
    chosen = calibration(task, folder)
    ways = [Worker(name, [file]) for name, file in emitted(arguments.qcc, arguments.target, task, folder)]
    words = arguments.peers.lower().split(",")
    for name, runtime, file in models(task, folder, chosen):
        if any(word in name.lower() for word in words):
            ways.append(Worker(name, [*command(runtime), file], variables))
    clock, failed, running = Clock(), {}, []
    for way in ways:
        try:
            way.round(arguments.seconds)  # caches and clocks warm up
            running.append(way)
        except Failed as error:
            failed[way.name] = str(error)
    for _ in range(arguments.rounds):
        for way in [*running, clock]:
            way.measure(arguments.seconds)
    for way in [*ways, clock]:
        way.stop()
    header = (folder / "network.h").read_text()
    macs = int(header.split("_MACS ")[1].split()[0].rstrip("uUlL"))
    times = {way.name: way.best for way in running}
    cycles = {way.name: min(way.cycles) for way in running if way.cycles[0]}
    return Result(task.name, macs, times, cycles, failed, clock.gigahertz)


class Result:
    """What was measured of one network."""

    def __init__(self, name, macs, times, cycles, failed, gigahertz):
        self.name, self.macs, self.times, self.failed, self.gigahertz = name, macs, times, failed, gigahertz
        # Without counters: what the clock says.
        self.cycles = cycles or {way: time * gigahertz * 1e3 for way, time in times.items()}
        self.counted = bool(cycles)

    def fastest(self, ways):
        """The fastest of some ways, if one of them ran."""
        return min((way for way in ways if way in self.times), key=self.times.get, default=None)

    def row(self):
        """Beside the fastest int8 and f32 of peers: how many times as fast the fastest emitted program is."""
        own = self.fastest(QCC)
        cells = [self.name, f"{self.macs / 1e6:,.1f}", f"{self.macs / self.cycles[own]:.1f}"]
        ratios = []
        for precision in ("int8", "f32"):
            best = self.fastest([way for way in self.times if precision in way])
            ratios.append(self.times[best] / self.times[own] if best else None)
            cells.append(f"{ratios[-1]:.2f}× ({best.removesuffix(' ' + precision)})" if best else "–")
        programs = [self.times[way] for way in QCC if way in self.times]
        ratios.append(max(programs) / min(programs))
        cells.append(f"{ratios[-1]:.2f}×")
        return cells, ratios


def table(head, rows):
    """A table whose first column is text."""
    print(f"| {' | '.join(head)} |")
    print("|---|" + "--:|" * (len(head) - 1))
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def microseconds(time):
    return f"{time:,.1f}" if time < 1000 else f"{time:,.0f}"


def show(results):
    """All times, then ratios and their geometric means, then what failed."""
    peers = [f"{peer} {precision}" for precision in ("int8", "f32") for peer in RUNTIMES]
    peers.insert(1, EXACT)
    ways = [way for way in [*QCC, *peers] if any(way in result.times for result in results)]
    rows = [[microseconds(r.times[way]) if way in r.times else "–" for way in ways] for r in results]
    table(["network", *ways], [[result.name, *row] for result, row in zip(results, rows)])
    rows = [result.row() for result in results]
    means = []
    for column in zip(*(ratios for _, ratios in rows)):
        there = [ratio for ratio in column if ratio]
        means.append(f"{math.exp(sum(map(math.log, there)) / len(there)):.2f}×" if there else "–")
    head = ["network", "million MACs", "MAC/cycle", "fastest int8 peer", "fastest f32 peer", "slowest compiler"]
    table(head, [*(cells for cells, _ in rows), ["geometric mean", "", "", *means]])
    if not all(result.counted for result in results):
        clocks = sorted(result.gigahertz for result in results)
        clock = f"{clocks[0]:.2f} to {clocks[-1]:.2f} GHz by a chain of additions"
        print(f"Cycles are not counted on this machine: MAC/cycle is estimated from times and the clock, {clock}.")
    without = [r.name for r in results if "LiteRT int8" not in {**r.times, **r.failed}]
    if without and any(way.startswith("LiteRT") for way in ways):
        print(f"LiteRT has no file of {', '.join(without)}.")
    for result in results:
        for way, error in result.failed.items():
            print(f"- {result.name}, {way}: {error}")


def tasks(words):
    """The networks that are meant by the words."""
    for name, trained in NETWORKS.items():
        if words and not any(word in name for word in words):
            continue
        found = next(available([trained]), None) if trained else None
        if found:
            yield found
        elif name in TOPOLOGIES:
            yield random_task(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc", type=Path)
    parser.add_argument("--target", default=AVX2)
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--seconds", default=0.5, type=float)
    parser.add_argument("--peers", default=",".join(RUNTIMES), help="words of peers' names, with commas between")
    parser.add_argument("words", nargs="*", help="words of networks' names; all where none are given")
    arguments = parser.parse_args()
    command, variables = install(arguments.target)
    pin()
    results = []
    for task in tasks(arguments.words):
        results.append(measure(arguments, task, command, variables))
        print(task.name, *(f"{way} {time:.1f}" for way, time in results[-1].times.items()), sep="; ", file=sys.stderr)
    print(f"Microseconds an evaluation on one core of {processor()}, {arguments.target}.\n")
    show(results)


if __name__ == "__main__":
    main()
