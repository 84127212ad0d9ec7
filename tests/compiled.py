"""Compile C test faces against ext/ into build/tests, once per source state."""

import ctypes
import hashlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "tests"


def compile_shared(source: Path, name: str, flags: list[str]) -> ctypes.CDLL:
    """Build `source` as a shared library with ext/ on its include path, and load it.

    The name holds a hash of the inputs, so a changed header gives a new library.
    """
    inputs = [source, *sorted((ROOT / "ext").rglob("*.[ch]"))]
    state = hashlib.sha256(b"".join(p.read_bytes() for p in inputs) + " ".join(flags).encode()).hexdigest()[
        :16
    ]
    library = OUTPUT / f"{name}-{state}.so"
    if not library.exists():
        OUTPUT.mkdir(parents=True, exist_ok=True)
        scratch = library.with_suffix(f".{os.getpid()}")
        compiler = os.environ.get("CC", "cc")
        options = [
            "-std=gnu11",
            "-O2",
            "-fno-strict-aliasing",
            "-shared",
            "-fPIC",
            "-Wall",
            "-Wextra",
            "-pthread",
        ]
        command = [compiler, *options, *flags, f"-I{ROOT / 'ext'}", str(source), "-o", str(scratch)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        scratch.rename(library)
    return ctypes.CDLL(str(library))
