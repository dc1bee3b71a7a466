"""Other runtimes held to AVX2, on any x86-64 machine.

Few of them have a switch for the instruction set that their kernels use. This makes private copies of their packages
and programs in which each `cpuid` is an illegal instruction of the same length, and a preloaded handler answers for the
processor, without AVX-512 and VNNI (workers/cpuid_mask.c). Needs gcc and objdump.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

HANDLER = Path(__file__).parent / "workers" / "cpuid_mask.c"
CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"


def copy(source, folder):
    """Copies a package, or a program, into `folder`, its libraries or itself without `cpuid`, and returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target)
        files = [file for file in target.rglob("*.so*") if file.is_file()]
    else:
        shutil.copy(source, target)
        files = [target]
    count = sum(replace_cpuid(file) for file in files)
    if count == 0:
        raise SystemExit(f"{source}: no cpuid instruction found; it cannot be held to AVX2")
    return target


def environment(folder):
    """The environment to run the copies of `folder` in."""
    library = folder / "cpuid_mask.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", library, HANDLER], check=True)
    return {**os.environ, "LD_PRELOAD": str(library.resolve()), "PYTHONPATH": str(folder.resolve())}


def replace_cpuid(file):
    """Replaces each `cpuid` of a program or shared library by `ud2`, and returns how many there were."""
    code = bytearray(file.read_bytes())
    if CPUID not in code:
        return 0
    headers = subprocess.run(["objdump", "-h", file], check=True, capture_output=True, text=True).stdout
    sections = re.findall(r"^ *\d+ (\S+) +\w+ +(\w+) +\w+ +(\w+)", headers, re.MULTILINE)
    shifts = {name: int(offset, 16) - int(address, 16) for name, address, offset in sections}
    command = ["objdump", "-d", "--no-show-raw-insn", file]
    listing = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    count = shift = 0
    for line in listing.stdout:
        if line.startswith("Disassembly of section "):
            shift = shifts[line.split()[3].rstrip(":")]
        elif line.rstrip().endswith("\tcpuid"):
            at = int(line.split(":")[0], 16) + shift
            assert code[at : at + 2] == CPUID, f"{file}: no cpuid at {at:#x}"
            code[at : at + 2] = UD2
            count += 1
    if listing.wait() != 0:
        raise SystemExit(f"{file}: objdump cannot read it")
    file.write_bytes(code)
    return count
