"""What a width for each layer is worth: constants and accuracy of uniform widths, and of what `qcc choose` finds.

    python choices.py [--qcc FILE] [word ...]

Widths are chosen on the calibration samples and their labels; accuracies are those of other samples.
For each classifier: 8 bits everywhere; the smallest network that loses half a point on the calibration samples; 4-bit
weights everywhere, rounded as samples teach; and the best network of the size of that one.

    python choices.py --repair [--qcc FILE] [word ...]

For each network whose outputs have less than 20 dB beside the float network's when every layer has 8 bits: the fewest
layers of 16-bit activations that bring them there on the calibration samples.
"""

import argparse
import json
import subprocess
import tomllib

import numpy as np

from tasks import REPOSITORY, WORK, available

# Noise of a tenth.
ENOUGH = 20.0


def output(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


class Network:
    """One task with its samples in files."""

    def __init__(self, qcc, task, samples):
        self.qcc, self.task = qcc, task
        self.folder = WORK / "choices" / task.name
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, indices in (("calibrate", samples.calibration), ("test", samples.evaluation)):
            labels = getattr(samples.metric, "labels", None)
            labels = {} if labels is None else {"labels": labels[indices]}
            np.savez(self.folder / f"{name}.npz", **samples.take(indices), **labels)

    def run(self, command, *options):
        dims = [part for name, extent in self.task.dims.items() for part in ("--dim", f"{name}={extent}")]
        calibrate = ("--calibrate", self.folder / "calibrate.npz")
        return output(self.qcc, command, self.task.model, *dims, *calibrate, *options)

    def accuracy(self, *options):
        """Percent of right answers, of the float and of the integer network."""
        lines = self.run("eval", "--data", self.folder / "test.npz", *options).splitlines()
        shares = {line.split()[0]: float(line.split()[1]) for line in lines if "right" in line}
        return shares["float"], shares["integer"]

    def fidelity(self, *options):
        """Signal to noise of the outputs beside the float network's, in dB."""
        lines = self.run("eval", "--data", self.folder / "test.npz", *options).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("fidelity"))

    def layers(self):
        return len(json.loads(self.run("inspect", "--json"))["layers"])

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


def repair(network):
    """A row of the second table, where 8 bits are too few."""
    eight, sixteen = network.fidelity(), network.fidelity("--precision", "w8a16")
    if eight >= ENOUGH:
        return None
    chosen = network.choose("--min-sqnr", ENOUGH)
    layers = tomllib.loads(chosen[1].read_text()).get("layer", [])
    layers = sum("a16" in layer["precision"] for layer in layers)
    cells = [f"{eight:.1f}", f"{network.fidelity(*chosen):.1f} by {layers} of {network.layers()}", f"{sixteen:.1f}"]
    return f"| {network.task.name} | {' | '.join(cells)} |"


def widths_of_classifiers(networks):
    print("| network | float | w8a8 | auto, half a point lost | w4a8, gptq | auto, of that size |")
    print("|---|--:|--:|--:|--:|--:|")
    for network, labels in networks:
        if labels:
            print(row(network), flush=True)


def repairs(networks):
    print("| network | w8a8, dB | auto, dB by layers of 16 bits | w8a16, dB |")
    print("|---|--:|--:|--:|")
    for network, _ in networks:
        if line := repair(network):
            print(line, flush=True)


def cell(flash, accuracy):
    return f"{accuracy[1]:.1f} in {flash / 1024:,.1f} KiB"


def networks(qcc, words):
    """Each network, and whether its calibration samples have labels."""
    for task in available(words):
        samples = task.load()
        labels = getattr(samples.metric, "labels", None)
        yield Network(qcc, task, samples), labels is not None and np.all(labels[samples.calibration] >= 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--repair", action="store_true", help="networks that 8 bits are too few for")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    table = repairs if arguments.repair else widths_of_classifiers
    table(networks(arguments.qcc, arguments.words))


if __name__ == "__main__":
    main()
