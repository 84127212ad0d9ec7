"""BLAKE3 in C over fields of records: as an array, from guarded memory, as a job for the workers.

Every test runs once for each instruction set of this CPU.
"""

import ctypes
import mmap

import numpy as np
import pytest
from digests import DATA, KEY, record_digests

from cherrydag import crypto
from cherrydag._native import digest as native
from cherrydag.errors import ShapeError

pytestmark = pytest.mark.usefixtures("backend")


# Records


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


def test_a_view_of_records_tells_their_size() -> None:
    records = np.frombuffer(DATA[: 5 * 70], "V70")
    expected = crypto.hash_records(records, 3, 60)
    assert crypto.hash_records(memoryview(records), 3, 60) == expected
    assert crypto.hash_records(memoryview(records.view("u1").reshape(5, 70)), 3, 60) == expected
    with pytest.raises(ShapeError, match="stride: expected the bytes of a record"):
        crypto.hash_records(memoryview(DATA[:70]), 0, 4)
    with pytest.raises(ShapeError, match="1-D of float32"):
        crypto.hash_records(memoryview(np.zeros(8, "f4")), 0, 4)


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
