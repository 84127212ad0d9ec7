"""The kernels of BLAKE3, and which of them is chosen.

Every test runs once for each instruction set of this CPU.
"""

import ctypes
import hashlib
import random
import subprocess
import sys

import pytest
from compiled import compile_shared
from digests import KEY
from places import ROOT
from reference.blake3_reference import (
    CHUNK_END,
    CHUNK_START,
    KEYED_HASH,
    chunk,
    to_bytes,
    to_words,
)
from reference.blake3_reference import ROOT as ROOT_FLAG

from cherrydag import crypto
from cherrydag._native import digest as native
from cherrydag.errors import ConfigError, ShapeError

pytestmark = pytest.mark.usefixtures("backend")


# Kernels


class Lanes(ctypes.Structure):
    """cd_lanes of ext/digest/kernel.h."""

    _fields_ = (
        ("input", ctypes.c_void_p * 16),
        ("output", ctypes.c_void_p * 16),
        ("counter_low", ctypes.c_uint32 * 16),
        ("counter_high", ctypes.c_uint32 * 16),
        ("last_size", ctypes.c_uint32 * 16),
        ("last_flags", ctypes.c_uint32 * 16),
        ("key", ctypes.c_uint32 * 8),
        ("flags", ctypes.c_uint32),
        ("first_flags", ctypes.c_uint32),
        ("blocks", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
    )


AVX512_FLAGS = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
KERNELS = {
    "portable": ("kernel_portable", []),
    "avx2": ("kernel_avx2", ["-mavx2"]),
    "avx512": ("kernel_avx512", AVX512_FLAGS),
    "avx512ifma": ("kernel_avx512", AVX512_FLAGS),
}


def compile_kernel(stem: str, flags: list[str]) -> ctypes.CDLL:
    source = ROOT / "ext" / "digest" / f"{stem}.c"
    state = hashlib.sha256(source.read_bytes()).hexdigest()  # builds are cached by headers and flags
    defines = [f'-DKERNEL_FILE="digest/{stem}.c"', f"-DKERNEL_RUN=cd_{stem}_run", f"-DSTATE={state}"]
    return compile_shared(ROOT / "tests" / "native" / "lanes_face.c", f"lanes_{stem}", [*flags, *defines])


@pytest.mark.parametrize("blocks", [1, 2, 3, 16])
def test_every_lane_has_its_own_counter_size_and_flags(blocks: int, backend: str) -> None:
    """Counters beyond 32 bits belong to messages of terabytes, so the kernel is called by itself."""
    face = compile_kernel(*KERNELS[backend])
    count = 8 if backend == "avx2" else 16
    rng = random.Random(blocks)
    counters = [rng.randrange(2**64) for _ in range(count - 2)] + [2**32 - 1, 2**32]
    sizes = [64 * (blocks - 1) + 1 + (lane * 29) % 64 for lane in range(count)]
    ends = [CHUNK_END | (ROOT_FLAG if lane % 3 else 0) for lane in range(count)]
    inputs = [ctypes.create_string_buffer(rng.randbytes(size), size) for size in sizes]
    outputs = [ctypes.create_string_buffer(32) for _ in range(count)]
    lanes = Lanes(flags=KEYED_HASH, first_flags=CHUNK_START, blocks=blocks, count=count)
    lanes.key[:] = to_words(KEY)
    for i in range(count):
        lanes.input[i], lanes.output[i] = ctypes.addressof(inputs[i]), ctypes.addressof(outputs[i])
        lanes.counter_low[i], lanes.counter_high[i] = counters[i] % 2**32, counters[i] >> 32
        lanes.last_size[i], lanes.last_flags[i] = sizes[i] - 64 * (blocks - 1), ends[i]
    face.face_run(ctypes.byref(lanes))
    for i in range(count):
        want = chunk(to_words(KEY), inputs[i].raw, counters[i], KEYED_HASH, ends[i] & ROOT_FLAG)
        assert outputs[i].raw == to_bytes(want), i


# Backends


def test_backend_is_the_one_chosen(backend: str) -> None:
    assert crypto.backend() == backend
    assert crypto.backends()[-1] == "portable"
    assert crypto.backends()[native.isa_best() - native.isa_current()] == backend


@pytest.mark.parametrize("name", ["", "AVX2", "sse2", "avx512 "])
def test_unknown_backend_is_refused_with_the_choices(name: str, backend: str) -> None:
    with pytest.raises(ConfigError, match=", ".join(crypto.backends())):
        crypto.use_backend(name)
    assert crypto.backend() == backend


def test_native_level_out_of_range_is_refused(backend: str) -> None:
    for level in (-1, 4, 99):
        with pytest.raises(ShapeError, match="level: expected 0 to"):
            native.isa_use(level)
    for level in range(native.isa_best() + 1, 4):
        with pytest.raises(ValueError, match="this CPU supports levels 0 to"):
            native.isa_use(level)
    assert crypto.backend() == backend


def import_with_backend(name: str) -> subprocess.CompletedProcess[str]:
    program = "from cherrydag import crypto; print(crypto.backend())"
    environment = {"CHERRYDAG_BACKEND": name, "PYTHONPATH": str(ROOT / "engine")}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )


def test_environment_chooses_the_backend(backend: str) -> None:
    assert import_with_backend(backend).stdout == f"{backend}\n"


def test_wrong_backend_in_the_environment_is_named() -> None:
    done = import_with_backend("sse2")
    assert done.returncode != 0
    assert "ConfigError: CHERRYDAG_BACKEND: got 'sse2', this CPU has" in done.stderr
