"""Processes that evaluate a network for as long as they are asked to, and the clock and counters of the processor."""

import contextlib
import ctypes
import os
import platform
import statistics
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from tasks import REPOSITORY, WORK, Samples, Task

WORKERS = Path(__file__).parent / "workers"
AVX2 = "x86_64-avx2"
CALIBRATION = 20


class Failed(Exception):
    """A runtime cannot load or evaluate a network; the message is its own last line."""


class Cycles:
    """The cycles that a process and its threads have spent outside the system, where the machine counts them."""

    # struct perf_event_attr: hardware cycles; inherited by threads; without kernel and hypervisor.
    ATTRIBUTES = struct.pack("IIQQQQQ", 0, 128, 0, 0, 0, 0, 1 << 1 | 1 << 5 | 1 << 6).ljust(128, b"\0")
    PERF_EVENT_OPEN = 298  # of x86-64

    def __init__(self, process):
        library = ctypes.CDLL(None, use_errno=True)
        self.file = library.syscall(self.PERF_EVENT_OPEN, self.ATTRIBUTES, process, -1, -1, 0)

    def read(self):
        return struct.unpack("Q", os.read(self.file, 8))[0] if self.file >= 0 else None


class Worker:
    """A process that evaluates a network for as many seconds as it is asked to, time after time."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.times, self.cycles = [], []
        self.errors = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, **pipes, text=True, env=environment)
        self.counter = Cycles(self.process.pid)

    def round(self, seconds):
        """Microseconds and, where they are counted, cycles of an evaluation.

        The median evaluation; but where others had the processor for most of them, what was spent on all.
        """
        before, spent = self.counter.read(), self.processor_time()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed(self.last_words())
        median, count = map(float, answer.split())
        after, spent = self.counter.read(), self.processor_time() - spent
        return min(median, spent / count) / 1e3, (after - before) / count if after else None

    def processor_time(self):
        """Nanoseconds that all threads have run."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads)

    def measure(self, seconds):
        time, cycles = self.round(seconds)
        self.times.append(time)
        self.cycles.append(cycles)

    def last_words(self):
        """The error that ended the process."""
        status = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        # A Rust program ends with a note on backtraces, and says before it what was wrong.
        said = [line for line in lines if not line.startswith(("note:", "stack backtrace"))]
        return said[-1][:200] if said else f"ended with status {status}"

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.errors.close()

    @property
    def median(self):
        return statistics.median(self.times)

    @property
    def best(self):
        """Of the quietest round."""
        return min(self.times)


class Clock(Worker):
    """Tells the clock from a chain of additions, a cycle each."""

    ADDITIONS = 100_000

    def __init__(self):
        WORK.mkdir(parents=True, exist_ok=True)
        program = WORK / "clock"
        subprocess.run(["gcc", "-O2", WORKERS / "clock.c", "-o", program], check=True)
        super().__init__("clock", [program])

    @property
    def gigahertz(self):
        return self.ADDITIONS / (self.best * 1e3)


def calibration(task, folder):
    """Writes the samples that every quantizer calibrates on, and returns them."""
    samples = task.load()
    chosen = samples.take(samples.calibration[:CALIBRATION])
    np.savez(folder / "calibrate.npz", **chosen)
    return chosen


def random_task(name):
    """A network of a known shape with random weights, calibrated on noise."""
    import topologies

    path = WORK / f"{name}.onnx"
    model = topologies.make(name)
    path.write_bytes(model.SerializeToString())
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    noise = np.random.default_rng(0).standard_normal((4, *shape[1:]), np.float32)
    samples = Samples({"input": noise}, np.arange(4), np.arange(4), None)
    return Task(f"{name}*", path, "", lambda: samples)


def pin():
    """Keeps this process and all that it starts on one core."""
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
