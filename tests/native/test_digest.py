"""BLAKE3 in C against its official vectors, the blake3 package and a reference from the specification.

Every test runs once for each instruction set of this CPU.
"""

import json
import random
from itertools import accumulate, pairwise

import blake3
import numpy as np
import pytest
from digests import CONTEXT, DATA, KEY, MODES, arguments, expected, split
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT, shared_vectors
from reference.blake3_reference import blake3_reference

from cherrydag import crypto
from cherrydag._native import digest as native
from cherrydag.errors import ShapeError

GOLDEN = json.loads((ROOT / "tests" / "vectors" / "digest.json").read_text())
CHUNK_EDGES = sorted({1024 * (2**k + e) + d for k in range(9) for e in (-1, 0, 1) for d in (-1, 0, 1)} - {-1})

pytestmark = pytest.mark.usefixtures("backend")


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
