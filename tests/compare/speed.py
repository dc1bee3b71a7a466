"""Speed of emitted programs beside ONNX Runtime's, on one thread, in one run.

    python speed.py [--target T] [--qcc FILE] [--rounds N] [--seconds S] [word ...]

Each way of running a network is a process of its own; the rounds go through all of them in turn, so that whatever
else the machine does meets all alike. A round gives the median of its evaluations, the table the median of the rounds.
ONNX Runtime runs its own int8 quantization of the same network, with integers in and out as qcc's programs have them,
and the float network; beside AVX2 programs, the int8 network also held to AVX2 (ort_avx2.py). Ratios are to ONNX
Runtime's int8 with the target's instructions.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx

import ort_avx2
import ort_int8
import resnet18
from tasks import REPOSITORY, WORK, Samples, Task, available

HERE = Path(__file__).parent
AVX2 = "x86_64-avx2"
NETWORKS = ["mobilenet_v2_1.0_224_ptq", "mobilenet_v1_0.25", "mlperf_ic_resnet8_f32", "resnet20_dyn18", "digits"]
CALIBRATION = 20


def random_resnet18():
    """ResNet-18's shape, calibrated on noise."""
    path = WORK / "resnet18.onnx"
    if not path.exists():
        onnx.save(resnet18.make(), path)
    x = np.random.default_rng(0).standard_normal((4, 3, 224, 224), np.float32)
    samples = Samples({"image": x}, np.arange(4), np.arange(4), None)
    return Task("resnet18 (random weights)", path, "", lambda: samples)


class Worker:
    """A process that evaluates a network for as long as it is asked to."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.times = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def round(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) / 1e3

    def measure(self, seconds):
        self.times.append(self.round(seconds))

    def stop(self):
        self.process.stdin.close()
        self.process.wait()

    @property
    def median(self):
        return statistics.median(self.times)


def emitted(qcc, target, task, folder):
    """Commands of the emitted programs, by compiler."""
    samples = task.load()
    np.savez(folder / "calibrate.npz", **samples.take(samples.calibration[:CALIBRATION]))
    machine = tomllib.loads((REPOSITORY / "targets" / f"{target}.toml").read_text())
    common = ["--calibrate", folder / "calibrate.npz", "--target", target, "--name", "network"]
    for file in ("network.c", "network.rs"):
        subprocess.run([qcc, "compile", task.model, *common, "-o", folder / file], check=True, capture_output=True)
    flags = machine["c"]["flags"]
    for compiler in ("gcc", "clang-19"):
        if shutil.which(compiler):
            output = folder / compiler
            sources = [HERE / "worker.c", folder / "network.c"]
            subprocess.run([compiler, "-O3", *flags, f"-I{folder}", *sources, "-o", output], check=True)
            yield f"qcc C, {compiler}", [output]
    shutil.copy(HERE / "worker.rs", folder)
    features = ",".join(f"+{feature}" for feature in machine["rust"]["features"])
    command = ["rustc", "--edition=2024", "-Copt-level=3", f"-Ctarget-feature={features}", "worker.rs", "-o", "rustc"]
    subprocess.run(command, check=True, cwd=folder)
    yield "qcc Rust", [folder / "rustc"]


def workers(qcc, target, task):
    """All ways of running a network; the first of ONNX Runtime is what ratios are to."""
    folder = WORK / "speed" / target / task.model.stem
    folder.mkdir(parents=True, exist_ok=True)
    ways = [Worker(name, command) for name, command in emitted(qcc, target, task, folder)]
    samples = task.load()
    quantized, ports = folder / "int8.onnx", folder / "int8-ports.onnx"
    ort_int8.quantize(task.model, samples.take(samples.calibration[:CALIBRATION]), quantized)
    ort_int8.integer_ports(quantized, ports)
    script = [sys.executable, HERE / "worker_ort.py"]
    if target == AVX2:
        ways.append(Worker("ONNX Runtime int8, AVX2", [*script, ports], ort_avx2.make(WORK / "ort-avx2")))
    ways.append(Worker("ONNX Runtime int8", [*script, ports]))
    ways.append(Worker("ONNX Runtime f32", [*script, task.model]))
    return ways


def measure(qcc, target, task, rounds, seconds):
    """Microseconds of each way."""
    ways = workers(qcc, target, task)
    for way in ways:
        way.round(seconds)  # caches and clocks warm up
    for _ in range(rounds):
        for way in ways:
            way.measure(seconds)
    for way in ways:
        way.stop()
    return {way.name: way.median for way in ways}


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc", type=Path)
    parser.add_argument("--target", default=AVX2)
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--seconds", default=0.5, type=float)
    parser.add_argument("words", nargs="*", default=[*NETWORKS, "resnet18"])
    arguments = parser.parse_args()
    # Children inherit the processor: all ways run on the same core.
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    tasks = list(available(arguments.words))
    if any("resnet18".startswith(word) for word in arguments.words):
        tasks.append(random_resnet18())
    print(f"Microseconds an evaluation on one core of {processor()}.\n")
    for i, task in enumerate(tasks):
        times = measure(arguments.qcc, arguments.target, task, arguments.rounds, arguments.seconds)
        if i == 0:
            print(f"| network | {' | '.join(times)} |")
            print("|---|" + "--:|" * len(times))
        base = next(time for name, time in times.items() if name.startswith("ONNX Runtime int8"))
        cells = [f"{time:,.1f} ({base / time:.2f}×)" for time in times.values()]
        print(f"| {task.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
