"""The tables of arXiv 1806.08342 (2, 3, 5 and 6), on the networks at hand, and what repairs the error: rounding that learns, and biases that samples correct.

    python whitepaper.py [--qcc FILE] [--via VIA] [--target TARGET] [--tables WORD] [word ...]

All schemes of a network are calibrated with the same samples, which are not evaluated.
Prints tables for Markdown, the signal to noise beside the float network in brackets, in dB; the words choose networks by their names.
"""

import argparse
import subprocess
import time

import accuracy
import ort_int8
from tasks import REPOSITORY, available

NETWORKS = (
    "mobilenet_v1_0.25_224_f32", "mobilenet_v2_1.0_224_ptq_int8pc_float", "mcunet_320kb_bn_ts11", "resnet20_dyn18_ext",
    "mlperf_ic_resnet8_f32", "mlperf_vww_mbv1_f32", "mlperf_kws_dscnn_f32", "mlperf_ad_autoencoder_f32",
)  # fmt: skip
FORMS = {
    "asymmetric, per tensor": "per-tensor,asymmetric",
    "symmetric, per channel": "per-channel,symmetric",
    "asymmetric, per channel": "per-channel,asymmetric",
}


def forms(precision):
    """The three forms of weights that the paper compares."""
    return {name: ("--precision", precision, "--weights", form) for name, form in FORMS.items()}


# Title, and options by column.
TABLES = {
    "Table 2: weights of 8 bits, activations of reals": forms("w8"),
    "Table 3: weights and activations of 8 bits": forms("w8a8"),
    "Table 5: weights of 4 bits, activations of 8": forms("w4a8"),
    "Table 6: weights of 8 bits, activations of 4": forms("w8a4"),
    "Weights of 8 bits per channel, activations of 4, by the method of calibration": {
        method: ("--precision", "w8a4", "--calibration", method)
        for method in ("minmax", "mse", "entropy", "percentile=99.9", "percentile=99")
    },
    "Weights of 4 bits per channel, activations of 8, by the rounding of weights": {
        "symmetric, nearest": ("--precision", "w4a8", "--weights", FORMS["symmetric, per channel"]),
        "symmetric, gptq": ("--precision", "w4a8", "--rounding", "gptq"),
        "asymmetric, nearest": ("--precision", "w4a8", "--weights", FORMS["asymmetric, per channel"]),
        "asymmetric, gptq": ("--precision", "w4a8", "--weights", "asymmetric", "--rounding", "gptq"),
    },
    "Weights of 8 bits per channel, by the width of activations": {
        **{precision: ("--precision", precision) for precision in ("w8a7", "w8a8", "w8a16", "w8")},
        **{
            f"{precision}, asymmetric": ("--precision", precision, "--weights", "asymmetric")
            for precision in ("w8a16", "w8")
        },
    },
    "Weights and activations of 7 and 8 bits": {
        **{precision: ("--precision", precision) for precision in ("w8a8", "w7a8", "w8a7", "w7a7")},
        **{f"{precision}, gptq": ("--precision", precision, "--rounding", "gptq") for precision in ("w7a8", "w7a7")},
    },
    "Weights symmetric per channel, by the correction of biases": {
        f"{precision}, {kind}": ("--precision", precision, "--bias-correction", kind)
        for precision in ("w8a8", "w4a8")
        for kind in ("analytic", "samples")
    },
    "Weights and activations of 8 bits, by the equalisation of channels": {
        kind: ("--equalisation", kind) for kind in ("none", "scales", "shifts")
    },
}


def measure(task, samples, truth, qcc, options):
    """The metric of one scheme and its signal to noise beside float; `None` where it is refused."""
    try:
        outputs = accuracy.by_qcc([*qcc, *options], task, samples)
    except subprocess.CalledProcessError as error:
        print(f"{task.name} {' '.join(options)}: {error.stderr.strip()[-300:]}", flush=True)
        return None
    return accuracy.judge(samples, truth)(outputs, samples.evaluation), accuracy.snr(outputs[:1], truth[:1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qcc", default=REPOSITORY / "target" / "release" / "qcc")
    parser.add_argument("--via", default="integer", help="how qcc evaluates; all ways give the same bits")
    parser.add_argument("--target", default="generic", help="the machine, where an emitted program evaluates")
    parser.add_argument("--tables", default="", help="only tables whose titles contain this")
    parser.add_argument("words", nargs="*", default=NETWORKS)
    arguments = parser.parse_args()
    qcc = [arguments.qcc, "run", "--via", arguments.via, "--target", arguments.target]
    measured = {}
    tables = {title: columns for title, columns in TABLES.items() if arguments.tables in title}
    rows = {title: [] for title in tables}
    for task in available(arguments.words):
        start = time.time()
        samples = task.load()
        truth = ort_int8.run(ort_int8.session(task.model), samples.take(samples.evaluation))
        real = accuracy.shown(accuracy.judge(samples, truth)(truth, samples.evaluation), task.unit)
        for title, columns in tables.items():
            cells = []
            for options in columns.values():
                key = (task.name, options)
                if key not in measured:
                    measured[key] = measure(task, samples, truth, qcc, options)
                value = measured[key]
                cells.append("–" if value is None else f"{accuracy.shown(value[0], task.unit)} ({value[1]:.1f})")
            rows[title].append(f"| {task.name} | {task.unit} | {len(samples.evaluation)} | {' | '.join(cells)} | {real} |")
            print(rows[title][-1], f"{time.time() - start:.0f} s", flush=True)
    for title, columns in tables.items():
        print(f"\n{title}:\n\n| network | metric | samples | {' | '.join(columns)} | float |")
        print(f"|---|---|--:|{'--:|' * (len(columns) + 1)}")
        print("\n".join(rows[title]))


if __name__ == "__main__":
    main()
