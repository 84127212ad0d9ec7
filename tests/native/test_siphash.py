"""The keyed hash of the native tables, against the definition and against another implementation's values."""

import ctypes
import random
from pathlib import Path

import pytest
from compiled import compile_shared
from hypothesis import given
from hypothesis import strategies as st
from reference.siphash_reference import siphash

FACE = compile_shared(Path(__file__).parent / "siphash_face.c", "siphash_face", [])
for function in (FACE.face_siphash, FACE.face_siphash_24, FACE.face_siphash_32):
    function.restype = ctypes.c_uint64

# CPython's hash(bytes(range(n))) is SipHash-1-3. Under PYTHONHASHSEED=0 its seed is 0, under 1 the other one.
KNOWN = [
    ((0, 0), 8, 0xEAD411E67EBE2EEA),
    ((0, 0), 24, 0x31185A47AF932F3A),
    ((0, 0), 32, 0x31EF8061C910629B),
    ((0, 0), 40, 0x95BC321AB41D8206),
    ((0xAED66CE184BE2329, 0xEBE9BBF1F1499052), 8, 0xC0B5739E7E28DD01),
    ((0xAED66CE184BE2329, 0xEBE9BBF1F1499052), 24, 0x19B4E5F288F874CE),
    ((0xAED66CE184BE2329, 0xEBE9BBF1F1499052), 32, 0xF78BAFBA3C64318E),
    ((0xAED66CE184BE2329, 0xEBE9BBF1F1499052), 40, 0xDB056B8B4F38310B),
]

words = st.one_of(st.sampled_from([0, 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))


def native(seed: tuple[int, int], key: bytes) -> int:
    """The native hash; of the sizes in use also as the tables compile it."""
    pair = (ctypes.c_uint64 * 2)(*seed)
    found: int = FACE.face_siphash(pair, key, ctypes.c_size_t(len(key)))
    fixed = {24: FACE.face_siphash_24, 32: FACE.face_siphash_32}.get(len(key))
    assert fixed is None or fixed(pair, key) == found
    return found


@pytest.mark.parametrize(("seed", "size", "expected"), KNOWN)
def test_values_are_those_of_another_implementation(seed: tuple[int, int], size: int, expected: int) -> None:
    key = bytes(range(size))
    assert native(seed, key) == siphash(seed, key) == expected


@given(st.tuples(words, words), st.integers(0, 40), st.randoms(use_true_random=False))
def test_any_whole_words_hash_as_defined(seed: tuple[int, int], count: int, rng: random.Random) -> None:
    key = rng.randbytes(8 * count)
    assert native(seed, key) == siphash(seed, key)


@pytest.mark.parametrize("size", [24, 32])
def test_every_bit_of_key_and_seed_counts(size: int) -> None:
    seed, key = (1, 2), bytes(range(size))
    keys = [(int.from_bytes(key, "little") ^ 1 << bit).to_bytes(size, "little") for bit in range(8 * size)]
    seeds = [(1 ^ 1 << bit, 2) for bit in range(64)] + [(1, 2 ^ 1 << bit) for bit in range(64)]
    hashes = {native(seed, key)} | {native(seed, other) for other in keys} | {native(s, key) for s in seeds}
    assert len(hashes) == 1 + 8 * size + 128
    assert len({value % 2**32 for value in hashes}) == len(hashes)
