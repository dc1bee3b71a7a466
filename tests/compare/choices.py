"""What a width for each layer is worth: constants and accuracy of uniform widths, and of what `qcc choose` finds.

    python choices.py [--qcc FILE] [word ...]

Widths are chosen on the calibration samples and their labels; accuracies are those of other samples.
For each classifier: 8 bits everywhere; the smallest network that loses half a point on the calibration samples; 4-bit
weights everywhere, rounded as samples teach; and the best network of the size of that one.
"""

import argparse
import json
import subprocess

import numpy as np

from tasks import REPOSITORY, WORK, available


def output(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


class Network:
    """One task with its samples in files."""

    def __init__(self, qcc, task, samples):
        self.qcc, self.task = qcc, task
        self.folder = WORK / "choices" / task.name
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, indices in (("calibrate", samples.calibration), ("test", samples.evaluation)):
            np.savez(self.folder / f"{name}.npz", **samples.take(indices), labels=samples.metric.labels[indices])

    def run(self, command, *options):
        dims = [part for name, extent in self.task.dims.items() for part in ("--dim", f"{name}={extent}")]
        calibrate = ("--calibrate", self.folder / "calibrate.npz")
        return output(self.qcc, command, self.task.model, *dims, *calibrate, *options)

    def accuracy(self, *options):
        """Percent of right answers, of the float and of the integer network."""
        lines = self.run("eval", "--data", self.folder / "test.npz", *options).splitlines()
        shares = {line.split()[0]: float(line.split()[1]) for line in lines if "right" in line}
        return shares["float"], shares["integer"]

    def flash(self, *options):
        """Bytes of constants."""
        targets = json.loads(self.run("inspect", "--json", *options))["targets"]
        return next(t["constant_bytes"] for t in targets if t["target"] == "generic")

    def choose(self, *goal):
        """Options that stand for the choice."""
        path = self.folder / "widths.toml"
        self.run("choose", *goal, "-o", path)
        return "--overrides", path


def row(network):
    uniform = network.flash(), network.accuracy()
    four = "--precision", "w4a8", "--rounding", "gptq"
    narrow = network.flash(*four), network.accuracy(*four)
    cells = [f"{uniform[1][0]:.1f}", cell(*uniform)]
    for goal in (("--min-accuracy", "float-0.5"), ("--max-flash", narrow[0])):
        try:
            chosen = network.choose(*goal)
            cells.append(cell(network.flash(*chosen), network.accuracy(*chosen)))
        except subprocess.CalledProcessError as error:
            cells.append(error.stderr.strip().split("\n")[0])
    cells.insert(3, cell(*narrow))
    return f"| {network.task.name} | {' | '.join(cells)} |"


def cell(flash, accuracy):
    return f"{accuracy[1]:.1f} in {flash / 1024:,.1f} KiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    print("| network | float | w8a8 | auto, half a point lost | w4a8, gptq | auto, of that size |")
    print("|---|--:|--:|--:|--:|--:|")
    for task in available(arguments.words):
        samples = task.load()
        labels = getattr(samples.metric, "labels", None)
        if labels is None or np.any(labels[samples.calibration] < 0):
            continue
        print(row(Network(arguments.qcc, task, samples)), flush=True)


if __name__ == "__main__":
    main()
