"""Signature verdicts of every backend against the big-integer reference and the published vectors."""

import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import nacl.bindings
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import shared_vectors
from reference import ed25519_reference as reference
from reference.ed25519_reference import BASE, ORDER, P, Point

from cherrydag import crypto
from cherrydag._native import ed25519 as native
from cherrydag.errors import ShapeError

# Around lanes, the smallest batches of an equation, the changes of window width, the largest batch.
SIZES = [
    1,
    2,
    7,
    8,
    9,
    11,
    12,
    13,
    16,
    17,
    23,
    24,
    25,
    48,
    95,
    96,
    112,
    160,
    299,
    300,
    375,
    401,
    701,
    900,
    2047,
    2048,
    2049,
    2100,
]

TORSION = reference.torsion_points()
SMALL_ORDER = reference.small_order_encodings()


class Case(NamedTuple):
    key: bytes
    message: bytes
    signature: bytes


@dataclass(frozen=True)
class Forged:
    """A case, and what the reference says of it."""

    kind: str
    case: Case
    valid: bool


def columns(cases: list[Case]) -> tuple[bytes, list[bytes], bytes]:
    return b"".join(c.key for c in cases), [c.message for c in cases], b"".join(c.signature for c in cases)


def verdicts(cases: list[Case], *, independent: bool = False) -> list[bool]:
    keys, messages, signatures = columns(cases)
    return [bool(v) for v in crypto.verify_messages(keys, messages, signatures, independent=independent)]


def honest(rng: random.Random, length: int = 32) -> Case:
    key, secret = nacl.bindings.crypto_sign_seed_keypair(rng.randbytes(32))
    message = rng.randbytes(length)
    return Case(key, message, nacl.bindings.crypto_sign(message, secret)[:64])


def crafted(rng: random.Random, a_torsion: Point, r_torsion: Point) -> Case:
    """A signature whose A and R are shifted by points of small order."""
    a, r, message = rng.randrange(1, ORDER), rng.randrange(1, ORDER), rng.randbytes(32)
    key = reference.encode(reference.add(reference.multiply(a, BASE), a_torsion))
    commitment = reference.encode(reference.add(reference.multiply(r, BASE), r_torsion))
    s = (r + reference.challenge(commitment, key, message) * a) % ORDER
    return Case(key, message, commitment + s.to_bytes(32, "little"))


def undecodable(rng: random.Random) -> bytes:
    while True:
        encoding = rng.randbytes(32)
        if reference.decode(encoding) is None:
            return encoding


def with_s(case: Case, s: int) -> Case:
    return case._replace(signature=case.signature[:32] + s.to_bytes(32, "little"))


def s_of(case: Case) -> int:
    return int.from_bytes(case.signature[32:], "little")


KINDS: dict[str, Callable[[random.Random], Case]] = {
    "honest": honest,
    "torsioned key": lambda rng: crafted(rng, rng.choice(TORSION[1:]), TORSION[0]),
    "torsioned R": lambda rng: crafted(rng, TORSION[0], rng.choice(TORSION[1:])),
    "both torsioned": lambda rng: crafted(rng, rng.choice(TORSION), rng.choice(TORSION)),
    "small-order key and R": lambda rng: Case(
        rng.choice(SMALL_ORDER), rng.randbytes(9), rng.choice(SMALL_ORDER) + bytes(32)
    ),
    "small-order key, S not 0": lambda rng: Case(
        rng.choice(SMALL_ORDER), rng.randbytes(9), rng.choice(SMALL_ORDER) + b"\1" + bytes(31)
    ),
    "small-order key, S = l": lambda rng: Case(
        rng.choice(SMALL_ORDER), b"", rng.choice(SMALL_ORDER) + ORDER.to_bytes(32, "little")
    ),
    "S + l": lambda rng: with_s(case := honest(rng), s_of(case) + ORDER),
    "S = l": lambda rng: with_s(honest(rng), ORDER),
    "S = l - 1": lambda rng: with_s(honest(rng), ORDER - 1),
    "S with a high bit": lambda rng: with_s(case := honest(rng), s_of(case) | 1 << rng.randrange(253, 256)),
    "another S": lambda rng: with_s(case := honest(rng), (s_of(case) + 1) % ORDER),
    "another message": lambda rng: honest(rng)._replace(message=rng.randbytes(32)),
    "another key": lambda rng: honest(rng)._replace(key=honest(rng).key),
    "R of another": lambda rng: (
        case := honest(rng),
        case._replace(signature=honest(rng).signature[:32] + case.signature[32:]),
    )[1],
    "undecodable R": lambda rng: (
        case := honest(rng),
        case._replace(signature=undecodable(rng) + case.signature[32:]),
    )[1],
    "undecodable R, all else of small order": lambda rng: Case(
        rng.choice(SMALL_ORDER), b"", undecodable(rng) + bytes(32)
    ),
    "undecodable key, all else of small order": lambda rng: Case(
        undecodable(rng), b"", rng.choice(SMALL_ORDER) + bytes(32)
    ),
    "undecodable key": lambda rng: honest(rng)._replace(key=undecodable(rng)),
    "sign of R flipped": lambda rng: (
        case := honest(rng),
        case._replace(
            signature=case.signature[:31] + bytes([case.signature[31] ^ 128]) + case.signature[32:]
        ),
    )[1],
    "sign of key flipped": lambda rng: (
        case := honest(rng),
        case._replace(key=case.key[:31] + bytes([case.key[31] ^ 128])),
    )[1],
    "all zero": lambda rng: Case(bytes(32), b"", bytes(64)),
    "all ones": lambda rng: Case(b"\xff" * 32, b"", b"\xff" * 64),
}


@pytest.fixture(scope="module")
def pool() -> list[Forged]:
    """A few of every kind, judged once by the reference."""
    rng = random.Random(20261122)
    cases = [(kind, make(rng)) for kind, make in KINDS.items() for _ in range(6)]
    return [Forged(kind, case, reference.verify(*case)) for kind, case in cases]


@pytest.fixture(scope="module")
def many_honest() -> list[Case]:
    rng = random.Random(7)
    return [honest(rng) for _ in range(2100)]


@pytest.fixture(autouse=True)
def cold() -> Iterator[None]:
    crypto.clear_key_cache()
    yield


def test_the_pool_holds_both_verdicts_of_what_matters(pool: list[Forged]) -> None:
    valid = {f.kind for f in pool if f.valid}
    assert {"honest", "torsioned key", "torsioned R", "both torsioned", "small-order key and R"} <= valid
    assert valid.isdisjoint(
        {
            "S + l",
            "S = l",
            "small-order key, S = l",
            "S with a high bit",
            "another S",
            "another message",
            "undecodable R",
        }
    )


def test_each_kind_alone_agrees_with_the_reference(backend: str, pool: list[Forged]) -> None:
    for forged in pool:
        assert verdicts([forged.case]) == [forged.valid], forged.kind


@pytest.mark.parametrize("seed", range(12))
def test_mixed_batches_agree_with_the_reference(backend: str, pool: list[Forged], seed: int) -> None:
    rng = random.Random(seed)
    size = rng.choice((2, 7, 8, 9, 11, 12, 13, 23, 24, 25, 63, 100, 257))
    batch = [rng.choice(pool) for _ in range(size)]
    expected = [f.valid for f in batch]
    assert verdicts([f.case for f in batch]) == expected
    assert verdicts([f.case for f in batch], independent=True) == expected
    assert verdicts([f.case for f in batch]) == expected, "with the keys cached"


def test_a_batch_of_valid_torsioned_signatures_passes_as_one(backend: str, pool: list[Forged]) -> None:
    """The cofactored equation takes every valid signature; a cofactorless batch would fail here."""
    valid = [f.case for f in pool if f.valid]
    assert verdicts(valid * 4) == [True] * len(valid) * 4


@pytest.mark.parametrize("size", SIZES)
def test_one_bad_signature_is_found_anywhere(backend: str, many_honest: list[Case], size: int) -> None:
    cases = many_honest[:size]
    assert verdicts(cases) == [True] * size
    for bad in {0, size // 2, size - 1}:
        changed = [*cases]
        changed[bad] = with_s(cases[bad], s_of(cases[bad]) ^ 1)
        assert verdicts(changed) == [i != bad for i in range(size)]


@pytest.mark.parametrize("bad_count", [2, 50, 511, 512])
def test_many_bad_signatures_are_all_found(backend: str, many_honest: list[Case], bad_count: int) -> None:
    bad = set(random.Random(bad_count).sample(range(512), bad_count))
    cases = [with_s(c, s_of(c) ^ 2) if i in bad else c for i, c in enumerate(many_honest[:512])]
    assert verdicts(cases) == [i not in bad for i in range(512)]


@pytest.mark.parametrize("size", [127, 128, 129, 255, 256, 257, 509, 1024, 2048])
def test_bad_signatures_are_found_in_any_parts_of_a_batch(
    backend: str, many_honest: list[Case], size: int
) -> None:
    """At the bounds of parts, in one, in two, in more than are tried; keys of one part and of several."""
    rng = random.Random(size)
    for places in (1, 2, 3, 8):
        bounds = [size * part // count for count in (4, 5, 6, 7, 8) for part in range(count)]
        bad = {(rng.choice(bounds) + rng.choice((-1, 0, 1))) % size for _ in range(places)}
        cases = [many_honest[i if i % 3 else i % 60] for i in range(size)]
        rng.shuffle(cases)
        for i in bad:
            cases[i] = with_s(cases[i], s_of(cases[i]) ^ 4)
        assert verdicts(cases) == [i not in bad for i in range(size)]


def test_errors_that_cancel_between_parts_do_not_pass(backend: str, many_honest: list[Case]) -> None:
    cases = many_honest[:512]
    changed = [*cases]
    changed[0] = with_s(cases[0], s_of(cases[0]) + 1)
    changed[511] = with_s(cases[511], s_of(cases[511]) - 1)
    assert verdicts(changed) == [i not in (0, 511) for i in range(512)]


def test_the_time_for_bad_signatures_is_bounded(backend: str, many_honest: list[Case]) -> None:
    """One of 2,048 costs less than to check each; all of them no more than an equation beside that."""
    cases = many_honest[:2048]

    def seconds(bad: int, *, independent: bool = False) -> float:
        changed = [with_s(c, s_of(c) ^ 1) for c in cases[:bad]] + cases[bad:]
        keys, messages, signatures = columns(changed)
        spent = []
        for _ in range(5):
            before = time.thread_time()
            crypto.verify_messages(keys, messages, signatures, independent=independent)
            spent.append(time.thread_time() - before)
        return min(spent)

    good, one, every, each = seconds(0), seconds(1), seconds(2048), seconds(2048, independent=True)
    assert good + each / 16 < one < 0.85 * each
    assert every < 1.25 * (good + each)


def test_errors_that_cancel_in_a_plain_sum_do_not_pass(backend: str, many_honest: list[Case]) -> None:
    """S + 1 in one signature and S - 1 in the next: only the random coefficients tell them apart."""
    cases = many_honest[:64]
    changed = [*cases]
    changed[3] = with_s(cases[3], s_of(cases[3]) + 1)
    changed[4] = with_s(cases[4], s_of(cases[4]) - 1)
    assert verdicts(changed) == [i not in (3, 4) for i in range(64)]


def test_signers_in_common_are_merged_without_changing_verdicts(backend: str) -> None:
    rng = random.Random(3)
    signers = [nacl.bindings.crypto_sign_seed_keypair(rng.randbytes(32)) for _ in range(5)]
    cases, expected = [], []
    for i in range(200):
        key, secret = signers[i * i % 5]
        message = rng.randbytes(32)
        case = Case(key, message, nacl.bindings.crypto_sign(message, secret)[:64])
        assert verdicts([case]) == [True]
        bad = i % 17 == 5
        cases.append(case._replace(message=rng.randbytes(32)) if bad else case)
        expected.append(not bad)
    assert verdicts(cases) == expected
    good = [c for c, e in zip(cases, expected, strict=True) if e]
    assert verdicts(good) == [True] * len(good)


def test_messages_of_mixed_lengths(backend: str) -> None:
    """Every padding edge of SHA-512 (128-byte blocks, 64 bytes go before the message), side by side."""
    rng = random.Random(4)
    lengths = [*range(130), 175, 176, 177, 303, 304, 305, 1000, 4096, 100_000]
    rng.shuffle(lengths)
    cases = [honest(rng, length) for length in lengths]
    assert verdicts(cases) == [True] * len(cases)
    wrong = [c._replace(message=c.message + b"\0") for c in cases]
    assert verdicts(wrong) == [False] * len(cases)


def test_small_order_pairs_all_pass(backend: str) -> None:
    """14 x 14 encodings with S = 0: the 196 published ZIP-215 vectors, made here."""
    assert len(SMALL_ORDER) == 14
    cases = [Case(a, b"Zcash", r + bytes(32)) for a in SMALL_ORDER for r in SMALL_ORDER]
    assert verdicts(cases) == [True] * 196
    assert verdicts(cases, independent=True) == [True] * 196


@pytest.mark.parametrize("name", ["zip215_196.json", "wycheproof_151.json"])
def test_published_vectors(backend: str, name: str) -> None:
    vectors = json.loads(shared_vectors(name).read_text())["vectors"]
    cases, expected = [], []
    for vector in vectors:
        key, message, signature = (bytes.fromhex(vector[field]) for field in ("pk", "msg", "sig"))
        if len(signature) == 64:  # other lengths never reach the verifier: the record has no room for them
            cases.append(Case(key, message, signature))
            expected.append(vector["expect"]["zip215"])
    assert len(cases) > 100
    assert [verdicts([case])[0] for case in cases] == expected
    assert verdicts(cases) == expected
    assert verdicts(cases, independent=True) == expected


def test_every_flipped_bit_of_a_signature_is_refused(backend: str, many_honest: list[Case]) -> None:
    case = many_honest[0]
    whole = int.from_bytes(case.signature, "little")
    flipped = [case._replace(signature=(whole ^ 1 << bit).to_bytes(64, "little")) for bit in range(512)]
    assert verdicts(flipped) == [False] * 512


@given(
    key=st.binary(min_size=32, max_size=32),
    s=st.integers(0, 2**256 - 1),
    r=st.binary(min_size=32, max_size=32),
)
def test_any_bytes_get_the_verdict_of_the_reference(key: bytes, s: int, r: bytes) -> None:
    case = Case(key, b"", r + s.to_bytes(32, "little"))
    assert verdicts([case]) == [reference.verify(*case)]


def test_cached_keys_give_the_same_verdicts(backend: str, many_honest: list[Case]) -> None:
    cases = many_honest[:300]
    assert verdicts(cases) == verdicts(cases) == [True] * 300
    bad = [with_s(c, s_of(c) ^ 1) for c in cases]
    assert verdicts(bad) == [False] * 300


def test_each_number_of_new_points_decodes_beside_cached_keys(backend: str) -> None:
    """Known keys leave n points to decode, so every remainder of lanes occurs; nothing old is taken up."""
    rng = random.Random(6)
    signers = [nacl.bindings.crypto_sign_seed_keypair(rng.randbytes(32)) for _ in range(40)]

    def sign(n: int) -> list[Case]:
        messages = [rng.randbytes(32) for _ in range(n)]
        pairs = zip(messages, signers, strict=False)
        return [Case(key, m, nacl.bindings.crypto_sign(m, secret)[:64]) for m, (key, secret) in pairs]

    assert verdicts(sign(40)) == [True] * 40
    for n in range(1, 41):
        assert verdicts(sign(n)) == [True] * n


def test_a_key_cached_by_one_backend_does_not_serve_another(many_honest: list[Case]) -> None:
    before = crypto.backend()
    try:
        for name in crypto.backends() * 3:
            crypto.use_backend(name)
            assert verdicts(many_honest[:100]) == [True] * 100
    finally:
        crypto.use_backend(before)


def test_threads_share_the_cache_without_harm(backend: str, many_honest: list[Case]) -> None:
    """Four threads, overlapping keys, one bad signature each, the cache emptied now and then."""

    def work(first: int) -> list[bool]:
        results = []
        for turn in range(20):
            cases = many_honest[first : first + 120]
            bad = (7 * turn + first) % 120
            cases[bad] = with_s(cases[bad], s_of(cases[bad]) ^ 1)
            results.append(verdicts(cases) == [i != bad for i in range(120)])
            if turn % 5 == 0:
                crypto.clear_key_cache()
        return results

    with ThreadPoolExecutor(4) as pool:
        assert all(all(results) for results in pool.map(work, (0, 40, 80, 120)))


# Arguments


def arrays(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = random.Random(n)
    cases = [honest(rng) for _ in range(n)]
    keys, messages, signatures = columns(cases)
    as_rows = (
        np.frombuffer(b, np.uint8).reshape(n, -1).copy() for b in (keys, b"".join(messages), signatures)
    )
    return tuple(as_rows)


def test_no_signatures_give_no_verdicts(backend: str) -> None:
    assert crypto.verify_signatures(b"", b"", b"") == b""
    assert crypto.verify_messages(b"", [], b"") == b""


@pytest.mark.parametrize("n", [1, 3, 60])
def test_every_buffer_kind_is_taken(backend: str, n: int) -> None:
    keys, digests, signatures = arrays(n)
    for convert in (
        bytes,
        bytearray,
        memoryview,
        lambda a: a,
        lambda a: a.view(f"V{a.shape[1]}"),
        lambda a: a.view([("x", "u1", (a.shape[1],))]),
        lambda a: memoryview(bytes(a)).toreadonly(),
        lambda a: np.frombuffer(b"?" + bytes(a), np.uint8)[1:],  # misaligned
    ):
        arguments = (convert(np.ascontiguousarray(a)) for a in (keys, digests, signatures))
        assert crypto.verify_signatures(*arguments) == b"\1" * n


def test_read_only_arrays_are_taken_and_left_alone(backend: str) -> None:
    keys, digests, signatures = arrays(50)
    before = [a.copy() for a in (keys, digests, signatures)]
    for a in (keys, digests, signatures):
        a.flags.writeable = False
    assert crypto.verify_signatures(keys, digests, signatures) == b"\1" * 50
    assert all((a == b).all() for a, b in zip((keys, digests, signatures), before, strict=True))


@pytest.mark.parametrize(
    ("keys", "digests", "signatures", "message"),
    [
        (bytes(31), bytes(32), bytes(64), "public_keys: 31 bytes are not a whole number of 32-byte rows"),
        (bytes(32), bytes(33), bytes(64), "digests: 33 bytes"),
        (bytes(32), bytes(32), bytes(63), "signatures: 63 bytes"),
        (bytes(64), bytes(32), bytes(128), "2 public keys but 1 digests"),
        (bytes(64), bytes(64), bytes(64), "2 public keys but 1 signatures"),
        (b"", b"", bytes(64), "0 public keys but 1 signatures"),
        (
            np.zeros(8, "f4"),
            bytes(32),
            bytes(64),
            "public_keys: expected bytes or records, got items of format 'f'",
        ),
        (np.zeros(4, "u8"), bytes(32), bytes(64), "format 'L'"),
        (np.zeros((64, 32), "u1")[::2], bytes(1024), bytes(2048), "public_keys: .*contiguous"),
    ],
)
def test_a_wrong_shape_is_named(keys: bytes, digests: bytes, signatures: bytes, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        crypto.verify_signatures(keys, digests, signatures)


@pytest.mark.parametrize("wrong", [None, 3, "text", [1, 2]])
def test_what_is_no_buffer_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"public_keys: expected a bytes-like object"):
        crypto.verify_signatures(wrong, bytes(32), bytes(64))


def test_one_message_is_not_a_sequence_of_messages() -> None:
    with pytest.raises(ShapeError, match="messages: expected a sequence"):
        crypto.verify_messages(bytes(32), b"hello", bytes(64))
    with pytest.raises(ShapeError, match="1 public keys need 2 offsets, got 3"):
        crypto.verify_messages(bytes(32), [b"a", b"b"], bytes(64))


def test_offsets_and_flags_are_checked_natively() -> None:
    for offsets in ([1, 0], [0, 6], [2**63, 2**63]):
        with pytest.raises(ShapeError, match="offsets must not decrease"):
            native.verify_messages(bytes(32), b"hello", np.array(offsets, np.uint64), bytes(64))
    with pytest.raises(ShapeError, match="flags must be known"):
        native.verify_signatures(bytes(32), bytes(32), bytes(64), 2)


def test_the_level_chooses_the_code() -> None:
    before = crypto.backend()
    try:
        for name in crypto.backends():
            crypto.use_backend(name)
            code = {"portable": "portable", "avx512ifma": "ifma"}.get(name, "avx2")
            assert native.backend_name() == code
    finally:
        crypto.use_backend(before)


def test_field_size_of_the_reference() -> None:
    assert P == 2**255 - 19
    assert reference.is_identity(reference.multiply(ORDER, BASE))
