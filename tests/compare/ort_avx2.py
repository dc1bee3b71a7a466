"""ONNX Runtime held to AVX2, on any x86-64 machine.

ONNX Runtime has no switch for the instruction set that its kernels use. This makes a private copy of the installed
package in which each `cpuid` is an illegal instruction of the same length, and a preloaded handler answers for the
processor, without AVX-512 and VNNI (cpuid_mask.c). Needs gcc and objdump.

    python tests/compare/ort_avx2.py target/ort-avx2 -- python script.py   # script.py imports the held copy
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys


def make(folder: pathlib.Path) -> dict[str, str]:
    """Makes the copy in `folder`, if it is not there, and returns the environment to run with."""
    import onnxruntime

    source = pathlib.Path(onnxruntime.__file__).parent
    stamp = folder / f"made-from-{onnxruntime.__version__}"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder / "onnxruntime")
        for library in (folder / "onnxruntime" / "capi").glob("onnxruntime_pybind11_state*.so"):
            replace_cpuid(library)
        handler = pathlib.Path(__file__).with_name("cpuid_mask.c")
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", folder / "cpuid_mask.so", handler],
            check=True,
        )
        stamp.touch()
    return {
        **os.environ,
        "LD_PRELOAD": str((folder / "cpuid_mask.so").resolve()),
        "PYTHONPATH": str(folder.resolve()),
        "QCC_ORT_LABEL": "AVX2",
    }


def replace_cpuid(library: pathlib.Path) -> None:
    """Replaces each `cpuid` (0f a2) of a shared library by `ud2` (0f 0b)."""
    headers = subprocess.run(["objdump", "-h", library], check=True, capture_output=True, text=True).stdout
    _, _, address, _, offset = re.search(r"\.text\s+(\w+)\s+(\w+)\s+(\w+)\s+(\w+)", headers).group(0).split()
    shift = int(offset, 16) - int(address, 16)
    listing = subprocess.Popen(
        ["objdump", "-d", "-j", ".text", "--no-show-raw-insn", library], stdout=subprocess.PIPE, text=True
    )
    code = bytearray(library.read_bytes())
    count = 0
    for line in listing.stdout:
        if line.rstrip().endswith("\tcpuid"):
            at = int(line.split(":")[0], 16) + shift
            assert code[at : at + 2] == b"\x0f\xa2", f"{library}: no cpuid at {at:#x}"
            code[at + 1] = 0x0B
            count += 1
    if listing.wait() != 0 or count == 0:
        raise SystemExit(f"{library}: no cpuid instruction found")
    library.write_bytes(code)


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        raise SystemExit(__doc__)
    environment = make(pathlib.Path(sys.argv[1]))
    raise SystemExit(subprocess.run(sys.argv[3:], env=environment).returncode)
