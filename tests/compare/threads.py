"""Speed of emitted programs whose layers threads share, in one run.

    python threads.py [--target T] [--qcc FILE] [--threads N ...] [--rounds N] [--seconds S] [word ...]

Microseconds an evaluation of the C that gcc compiles, whose parallel-for is OpenMP's: without an entry for threads, and
with it for each number of threads. All programs of a network take turns, as in peers.py. The median round stands beside
the quietest one, because other work on the machine takes away the second core first.
"""

import argparse
import subprocess
import tomllib
from pathlib import Path

from tasks import REPOSITORY, WORK, available
from timing import AVX2, WORKERS, Worker, calibration, processor, random_task

NETWORKS = ["mobilenet_v1_0.25", "mobilenet_v2_1.0_224_ptq"]
RANDOM = ["resnet18"]


def emit(qcc, target, task, most):
    """A folder with the emitted file, for at most so many threads; for 0 without an entry for them."""
    folder = WORK / "threads" / target / task.model.stem / str(most)
    folder.mkdir(parents=True, exist_ok=True)
    calibration(task, folder)
    options = ["--calibrate", folder / "calibrate.npz", "--target", target]
    options += ["--threads", str(most)] if most else []
    command = [qcc, "compile", task.model, *options, "--name", "network", "-o", folder / "network.c"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def program(folder, target, threads):
    """The emitted program as a process that asks for so many threads; for 0 it calls the entry without."""
    flags = tomllib.loads((REPOSITORY / "targets" / f"{target}.toml").read_text())["c"]["flags"]
    asked = [f"-DTHREADS={threads}", "-fopenmp"] if threads else []
    sources = [WORKERS / "emitted.c", folder / "network.c"]
    binary = folder / f"worker{threads}"
    subprocess.run(["gcc", "-O3", *flags, *asked, f"-I{folder}", *sources, "-o", binary], check=True)
    return Worker(str(threads), [binary])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc", type=Path)
    parser.add_argument("--target", default=AVX2)
    parser.add_argument("--threads", default=[1, 2], type=int, nargs="+")
    parser.add_argument("--rounds", default=40, type=int)
    parser.add_argument("--seconds", default=0.1, type=float)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    print(f"Microseconds an evaluation on {processor()}, the median round and the quietest.\n")
    print(f"| network | no entry | {' | '.join(f'{n} threads' for n in arguments.threads)} |")
    print("|---|" + "--:|" * (1 + len(arguments.threads)))
    tasks = list(available(arguments.words or NETWORKS))
    tasks += [random_task(name) for name in RANDOM if not arguments.words or name in arguments.words]
    for task in tasks:
        plain = emit(arguments.qcc, arguments.target, task, 0)
        shared = emit(arguments.qcc, arguments.target, task, max(2, *arguments.threads))
        programs = [program(plain, arguments.target, 0)]
        programs += [program(shared, arguments.target, n) for n in arguments.threads]
        for turn in range(arguments.rounds + 1):
            for worker in programs:
                # The first round warms up caches and clocks.
                worker.measure(arguments.seconds) if turn else worker.round(arguments.seconds)
        base = programs[0]
        cells = [f"{w.median:,.0f}, {w.best:,.0f} ({base.best / w.best:.2f}×)" for w in programs]
        for worker in programs:
            worker.stop()
        print(f"| {task.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
