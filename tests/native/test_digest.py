"""BLAKE3 in C against its official vectors, the blake3 package and a reference from the specification.

Every test runs once for each instruction set of this CPU.
"""

import ctypes
import hashlib
import json
import mmap
import random
import subprocess
import sys
from itertools import accumulate, pairwise

import blake3
import numpy as np
import pytest
from compiled import compile_shared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT, shared_vectors
from reference.blake3_reference import (
    CHUNK_END,
    CHUNK_START,
    KEYED_HASH,
    blake3_reference,
    chunk,
    to_bytes,
    to_words,
)
from reference.blake3_reference import ROOT as ROOT_FLAG

from cherrydag import crypto
from cherrydag._native import digest as native
from cherrydag.errors import ConfigError, ShapeError

GOLDEN = json.loads((ROOT / "tests" / "vectors" / "digest.json").read_text())

KEY = bytes(range(100, 132))
CONTEXT = "cherrydag 2026-11 test context"
DATA = random.Random(20261).randbytes(3 * 1024 * 1024 + 1)
CHUNK_EDGES = sorted({1024 * (2**k + e) + d for k in range(9) for e in (-1, 0, 1) for d in (-1, 0, 1)} - {-1})

pytestmark = pytest.mark.usefixtures("backend")


MODES = pytest.mark.parametrize("mode", ["hash", "keyed", "derived"])


def arguments(mode: str) -> dict[str, object]:
    return {"hash": {}, "keyed": {"key": KEY}, "derived": {"context": CONTEXT}}[mode]


def expected(message: bytes, mode: str = "hash") -> bytes:
    options = {"hash": {}, "keyed": {"key": KEY}, "derived": {"derive_key_context": CONTEXT}}[mode]
    return blake3.blake3(message, **options).digest()


def split(joined: bytes) -> list[bytes]:
    assert len(joined) % 32 == 0
    return [joined[i : i + 32] for i in range(0, len(joined), 32)]


def bounds(lengths: list[int], first: int = 0) -> list[int]:
    return list(accumulate(lengths, initial=first))


def check_batch(data: bytes, offsets: list[int], mode: str) -> None:
    got = split(crypto.hash_many(data, offsets, **arguments(mode)))
    want = [expected(data[a:b], mode) for a, b in pairwise(offsets)]
    lengths = [b - a for a, b in pairwise(offsets)]
    wrong = [length for length, x, y in zip(lengths, got, want, strict=True) if x != y]
    assert wrong == []


# Vectors


def test_official_vectors() -> None:
    vectors = json.loads(shared_vectors("blake3_test_vectors.json").read_text())
    key, context = vectors["key"].encode(), vectors["context_string"]
    assert len(vectors["cases"]) >= 30
    for case in vectors["cases"]:
        message = bytes(i % 251 for i in range(case["input_len"]))
        assert crypto.hash_bytes(message).hex() == case["hash"][:64]
        assert crypto.hash_bytes(message, key).hex() == case["keyed_hash"][:64]
        assert crypto.derive_key(context, message).hex() == case["derive_key"][:64]


def test_golden_vectors() -> None:
    key, context = GOLDEN["key"].encode(), GOLDEN["context"]
    messages = [bytes((7 * i + i // 251) % 256 for i in range(case["length"])) for case in GOLDEN["digests"]]
    joined, offsets = b"".join(messages), bounds([len(message) for message in messages])
    for column, options in (("hash", {}), ("keyed", {"key": key}), ("derived", {"context": context})):
        want = [case[column] for case in GOLDEN["digests"]]
        assert [digest.hex() for digest in split(crypto.hash_many(joined, offsets, **options))] == want


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 1023, 1024, 1025, 2049, 5000])
def test_agrees_with_the_specification(length: int) -> None:
    message = DATA[:length]
    assert crypto.hash_bytes(message) == blake3_reference(message)
    assert crypto.hash_bytes(message, KEY) == blake3_reference(message, key=KEY)
    assert crypto.derive_key(CONTEXT, message) == blake3_reference(message, context=CONTEXT)


# Messages


@MODES
def test_every_length_in_one_shuffled_batch(mode: str) -> None:
    lengths = list(range(2050))
    random.Random(7).shuffle(lengths)
    check_batch(DATA, bounds(lengths, first=3), mode)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 255, 257])
def test_batches_around_the_vector_widths(count: int) -> None:
    check_batch(DATA, bounds([(37 * i) % 200 for i in range(count)], first=1), "keyed")
    check_batch(DATA, bounds([128] * count), "hash")
    check_batch(DATA, bounds([1500] * count), "derived")


@MODES
def test_long_messages_around_powers_of_two_chunks(mode: str) -> None:
    for length in CHUNK_EDGES:
        assert split(crypto.hash_many(DATA, [5, 5 + length], **arguments(mode))) == [
            expected(DATA[5 : 5 + length], mode)
        ], length
        if mode != "derived":
            one = crypto.hash_bytes(DATA[5 : 5 + length], **arguments(mode))
            assert one == expected(DATA[5 : 5 + length], mode), length


@pytest.mark.parametrize("length", [1 << 20, (1 << 20) + 1, (1 << 20) - 1, 3 << 20, (3 << 20) + 1])
def test_megabytes(length: int) -> None:
    assert crypto.hash_bytes(DATA[:length]) == expected(DATA[:length])
    assert crypto.hash_bytes(DATA[:length], KEY) == expected(DATA[:length], "keyed")
    assert crypto.derive_key(CONTEXT, DATA[:length]) == expected(DATA[:length], "derived")


@MODES
def test_long_and_short_messages_mixed(mode: str) -> None:
    """More chunks than the batch holds at once, with messages on both sides of its tree limit."""
    rng = random.Random(11)
    lengths = [rng.choice([rng.randrange(300), rng.randrange(9000), 65536, 65537]) for _ in range(150)]
    offsets = [offset for offset in bounds(lengths) if offset <= len(DATA)]
    assert sum(1024 < length <= 65536 for length in lengths) > 40
    assert offsets[-1] > 1200 * 1024
    check_batch(DATA, offsets, mode)


def test_many_messages_of_two_chunks() -> None:
    check_batch(DATA, bounds([1025 + i % 1024 for i in range(1500)]), "keyed")


@settings(max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.one_of(st.integers(0, 260), st.integers(900, 3300)), max_size=70),
    first=st.integers(0, 70),
    mode=st.sampled_from(["hash", "keyed", "derived"]),
)
def test_any_mix_of_lengths(lengths: list[int], first: int, mode: str) -> None:
    check_batch(DATA, bounds(lengths, first), mode)


def test_no_messages() -> None:
    assert crypto.hash_many(b"", [0]) == b""
    assert crypto.hash_many(DATA, [17]) == b""
    assert crypto.hash_many(b"", [0, 0, 0]) == expected(b"") * 2


def test_offsets_may_be_any_integers() -> None:
    want = expected(DATA[2:70]) + expected(DATA[70:300])
    for kind in ("u1", "u2", "i4", "u4", "i8", "u8", ">u8", "<u8"):
        offsets = [2, 70, 255] if kind == "u1" else [2, 70, 300]
        last = expected(DATA[70 : offsets[2]])
        assert crypto.hash_many(DATA, np.array(offsets, dtype=kind)) == want[:32] + last, kind
    strided = np.array([2, 9, 70, 9, 300], dtype=np.uint64)[::2]
    unaligned = np.frombuffer(b"x" + strided.tobytes(), dtype=np.uint8)[1:].view(np.uint64)
    assert crypto.hash_many(DATA, strided) == want
    assert crypto.hash_many(DATA, unaligned) == want
    assert crypto.hash_many(DATA, (2, 70, 300)) == want
    assert crypto.hash_many(DATA, [np.int32(2), 70, 300]) == want


@pytest.mark.parametrize(
    "offsets",
    [
        [],
        [101],
        [0, 101],
        [0, 50, 49],
        [50, 0],
        [0, 2**63],
        [0, 2**64 - 1],
        [2**64 - 1, 2**64 - 1],
        [0, 2**64],
        [-1, 5],
        np.array([-1, 5]),
        np.array([0, 50, 49], dtype=np.uint64),
        np.array([0.0, 5.0]),
        np.array([[0, 5]]),
        np.array([True, True]),
    ],
)
def test_wrong_offsets_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ShapeError, match="offsets"):
        crypto.hash_many(bytes(100), offsets)


def test_native_offsets_are_whole_and_aligned() -> None:
    aligned = np.zeros(3, dtype=np.uint64).view(np.uint8)
    with pytest.raises(ShapeError, match="8-byte rows"):
        native.hash_many(b"", aligned[:9], None, None)
    with pytest.raises(ShapeError, match="aligned"):
        native.hash_many(b"", aligned[1:17], None, None)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytearray(64)])
def test_wrong_keys_are_refused(key: bytes) -> None:
    for call in (
        lambda: crypto.hash_bytes(b"", key),
        lambda: crypto.hash_many(b"", [0], key),
        lambda: crypto.hash_records(bytes(8), 0, 8, key, stride=8),
    ):
        with pytest.raises(ShapeError, match="key: expected 32 bytes"):
            call()


def test_key_and_context_together_are_refused() -> None:
    with pytest.raises(ShapeError, match="key and context"):
        crypto.hash_many(b"", [0], KEY, context=CONTEXT)


def test_what_is_not_bytes_is_refused() -> None:
    for wrong in ("text", 5, None, [1, 2]):
        with pytest.raises(TypeError, match="data: expected a bytes-like object"):
            crypto.hash_bytes(wrong)  # type: ignore[arg-type]
    for shaped in (np.zeros(4), np.zeros(4, dtype=np.uint32), np.zeros(8, dtype=np.uint8)[::2]):
        with pytest.raises(ShapeError, match="data"):
            crypto.hash_bytes(shaped)


def test_every_kind_of_bytes_is_taken() -> None:
    frozen = np.frombuffer(DATA[:70], dtype=np.uint8)
    assert not frozen.flags.writeable
    for same in (DATA[:70], bytearray(DATA[:70]), memoryview(DATA)[:70], frozen, frozen.view("V70")):
        assert crypto.hash_bytes(same) == expected(DATA[:70])


def test_context_of_any_length() -> None:
    for context in ("", "x", "y" * 1024, "z" * 5000, "grüße"):
        want = blake3.blake3(b"m", derive_key_context=context).digest()
        assert crypto.derive_key(context, b"m") == want


# Records


def record_digests(rows: list[bytes], start: int, stop: int, mode: str = "hash") -> bytes:
    return b"".join(expected(row[start:stop], mode) for row in rows)


@pytest.mark.parametrize("stride", [1, 33, 64, 112, 113, 1024, 1031, 2500])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 16, 17, 40])
def test_records_of_any_stride(stride: int, count: int) -> None:
    base = memoryview(DATA)[1 : 1 + stride * count]  # an odd address
    rows = [bytes(base[i * stride : (i + 1) * stride]) for i in range(count)]
    for start, stop in {(0, stride), (stride // 3, stride), (stride // 3, stride // 2), (stride, stride)}:
        assert crypto.hash_records(base, start, stop, stride=stride) == record_digests(rows, start, stop)
        keyed = crypto.hash_records(base, start, stop, KEY, stride=stride)
        assert keyed == record_digests(rows, start, stop, "keyed")


@pytest.mark.parametrize("width", range(130))
def test_records_with_every_field_width(width: int) -> None:
    rows = [DATA[i * 131 : (i + 1) * 131] for i in range(19)]
    assert crypto.hash_records(DATA[: 19 * 131], 1, 1 + width, stride=131) == record_digests(
        rows, 1, 1 + width
    )


def test_records_as_arrays() -> None:
    layout = np.dtype([("nonce", "<u8"), ("to", "V20"), ("amount", "<u8", (2,))])
    structured = np.frombuffer(DATA[: 44 * 37], dtype=layout)
    rows = [row.tobytes() for row in structured]
    want = record_digests(rows, 8, 44)
    assert crypto.hash_records(structured, 8, 44) == want
    assert crypto.hash_records(structured.view("V44"), 8, 44) == want
    assert crypto.hash_records(structured.view(np.uint8).reshape(37, 44), 8, 44) == want
    assert crypto.hash_records(structured, 8, 44, stride=44) == want
    assert crypto.hash_records(structured[5:], 8, 44) == want[5 * 32 :]
    assert crypto.hash_records(structured[:0], 8, 44) == b""
    assert crypto.hash_records(np.frombuffer(DATA[:88], dtype="u1"), 8, 44, stride=44) == want[:64]


@pytest.mark.parametrize(
    ("records", "stride", "message"),
    [
        (bytes(100), None, "stride: expected the bytes of a record"),
        (np.zeros(100, dtype=np.uint8), None, "stride: expected the bytes of a record"),
        (bytes(100), 0, "stride: expected at least 1"),
        (bytes(100), -5, "stride: expected at least 1"),
        (bytes(100), 2**64, "stride: expected at least 1"),
        (bytes(101), 20, "records: 101 bytes are not a whole number of 20-byte rows"),
        (np.zeros(5, dtype="V20"), 10, "stride: expected 20"),
        (np.zeros((5, 20), dtype=np.uint8), 10, "stride: expected 20"),
        (np.zeros(10, dtype="V20")[::2], None, "records: .*contiguous"),
        (np.zeros((5, 40), dtype=np.uint8)[:, :20], None, "records: .*contiguous"),
        (np.zeros((20, 5), dtype=np.uint8).T, None, "records: .*contiguous"),
        (np.zeros((5, 20), dtype=np.uint32), None, "records: expected a 1-D array of records"),
        (np.zeros((5, 4, 5), dtype=np.uint8), None, "records: expected a 1-D array of records"),
        (np.zeros(25, dtype=np.float64), 20, "records: expected a 1-D array of records"),
    ],
)
def test_wrong_records_are_refused(records: bytes, stride: int | None, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        crypto.hash_records(records, 0, 5, stride=stride)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, 21), (21, 21), (0, 2**64), (2**65, 2**65)])
def test_wrong_fields_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ShapeError, match="0 <= start <= stop <= 20"):
        crypto.hash_records(bytes(100), start, stop, stride=20)
    if 0 <= start < 2**64 and stop < 2**64:
        with pytest.raises(ShapeError, match="0 <= start <= stop <= 20"):
            native.hash_records(bytes(100), 20, start, stop, None)


# Memory


class GuardedPages:
    """Bytes between two pages that may not be touched: a read past them ends the process."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = -(-size // page) * page
        self.map = mmap.mmap(-1, self.size + 2 * page)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for guard in (self.address, self.address + page + self.size):
            assert protect(guard, page, 0) == 0
        inner = (ctypes.c_uint8 * self.size).from_address(self.address + page)
        self.bytes = np.frombuffer(inner, dtype=np.uint8)


def test_nothing_outside_the_data_is_read() -> None:
    pages = GuardedPages(40000)
    pages.bytes[:] = np.frombuffer(DATA[: pages.size], dtype=np.uint8)
    for width in [*range(1, 130), 1000, 1023, 1024, 1025, 2047]:
        for count in (1, 2, 5, 16, 17):
            for data in (pages.bytes[-width * count :], pages.bytes[: width * count]):
                rows = [data[i * width : (i + 1) * width].tobytes() for i in range(count)]
                want = record_digests(rows, 0, width)
                assert crypto.hash_records(data, 0, width, stride=width) == want
                assert crypto.hash_many(data, [width * i for i in range(count + 1)]) == want
    for count in range(1, 70):
        at_end, at_start = pages.bytes[-32 * count :], pages.bytes[: 32 * count]
        assert crypto.merkle_root(at_end) == crypto.merkle_root(at_end.tobytes())
        assert crypto.merkle_root(at_start) == crypto.merkle_root(at_start.tobytes())
        assert crypto.merkle_proof(at_end, count - 1) == crypto.merkle_proof(at_end.tobytes(), count - 1)


# The job for the workers


class JobArguments(ctypes.Structure):
    """cd_job_args of ext/base/job.h."""

    _fields_ = (
        ("input", ctypes.c_char_p * 4),
        ("size", ctypes.c_size_t * 4),
        ("param", ctypes.c_uint64 * 4),
        ("output", ctypes.c_void_p),
        ("output_size", ctypes.c_size_t),
    )


def run_job(
    records: bytes | None, key: bytes | None, param: tuple[int, ...], output_size: int
) -> bytes | int:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(native.hash_records_job, b"cherrydag.job")
    run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(JobArguments))(address)
    output = ctypes.create_string_buffer(max(output_size, 1))
    args = JobArguments(
        (ctypes.c_char_p * 4)(records, key),
        (ctypes.c_size_t * 4)(len(records or b""), len(key or b"")),
        (ctypes.c_uint64 * 4)(*param),
        ctypes.cast(output, ctypes.c_void_p),
        output_size,
    )
    status = run(ctypes.byref(args))
    return output.raw[:output_size] if status == 0 else status


def test_job_hashes_records() -> None:
    records = DATA[: 112 * 21]
    rows = [records[i * 112 : (i + 1) * 112] for i in range(21)]
    assert run_job(records, None, (21, 112, 8, 100), 21 * 32) == record_digests(rows, 8, 100)
    assert run_job(records, KEY, (21, 112, 8, 100), 21 * 32) == record_digests(rows, 8, 100, "keyed")
    assert run_job(b"", None, (0, 112, 8, 100), 0) == b""
    assert run_job(None, None, (0, 112, 8, 100), 0) == b""


@pytest.mark.parametrize(
    ("records", "key", "param", "output_size"),
    [
        (bytes(100), None, (5, 20, 0, 20), 159),
        (bytes(100), None, (5, 20, 0, 20), 161),
        (bytes(100), None, (5, 20, 0, 20), 192),
        (bytes(100), None, (4, 20, 0, 20), 128),
        (bytes(100), None, (6, 20, 0, 20), 192),
        (bytes(101), None, (5, 20, 0, 20), 160),
        (bytes(100), None, (5, 20, 0, 21), 160),
        (bytes(100), None, (5, 20, 9, 8), 160),
        (bytes(100), None, (5, 0, 0, 0), 160),
        (bytes(0), None, (0, 0, 0, 0), 0),
        (bytes(0), None, (2**63, 2, 0, 1), 0),
        (bytes(0), None, (2**59, 32, 0, 1), 0),
        (bytes(100), bytes(31), (5, 20, 0, 20), 160),
        (bytes(100), bytes(33), (5, 20, 0, 20), 160),
    ],
)
def test_job_refuses_sizes_that_disagree(
    records: bytes, key: bytes | None, param: tuple[int, ...], output_size: int
) -> None:
    assert run_job(records, key, param, output_size) == -1


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


def test_a_view_of_records_tells_their_size() -> None:
    records = np.frombuffer(DATA[: 5 * 70], "V70")
    expected = crypto.hash_records(records, 3, 60)
    assert crypto.hash_records(memoryview(records), 3, 60) == expected
    assert crypto.hash_records(memoryview(records.view("u1").reshape(5, 70)), 3, 60) == expected
    with pytest.raises(ShapeError, match="stride: expected the bytes of a record"):
        crypto.hash_records(memoryview(DATA[:70]), 0, 4)
    with pytest.raises(ShapeError, match="1-D of float32"):
        crypto.hash_records(memoryview(np.zeros(8, "f4")), 0, 4)
