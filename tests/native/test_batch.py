"""The inside of a batch: what its coefficients depend on, and which keys it remembers."""

import ctypes
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3
import nacl.bindings
import pytest
from compiled import ROOT, compile_shared
from reference import ed25519_reference as reference
from reference.ed25519_reference import P
from reference.merkle_reference import merkle_root_reference

from cherrydag import crypto

FACE = Path(__file__).with_name("batch_face.c")
FLAGS = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512ifma", "-mbmi2"]


@pytest.fixture(scope="module")
def face() -> ctypes.CDLL:
    if "avx512ifma" not in crypto.backends():
        pytest.skip("this CPU has no AVX512-IFMA")
    folders = [ROOT / "ext" / name for name in ("base", "digest", "ed25519")]
    sources = [str(p) for folder in folders for p in sorted(folder.glob("*.c")) if p.name != "verify.c"]
    library = compile_shared(FACE, "batch_face", [*FLAGS, *sources])
    library.face_cached_keys.restype = ctypes.c_size_t
    return library


class Batch:
    """n signatures over digests."""

    def __init__(self, n: int, seed: int = 1) -> None:
        rng = random.Random(seed)
        pairs = [nacl.bindings.crypto_sign_seed_keypair(rng.randbytes(32)) for _ in range(n)]
        self.n = n
        self.keys = bytearray(b"".join(key for key, _ in pairs))
        self.digests = bytearray(rng.randbytes(32 * n))
        signed = (nacl.bindings.crypto_sign(self.digest(i), pairs[i][1])[:64] for i in range(n))
        self.signatures = bytearray(b"".join(signed))

    def digest(self, i: int) -> bytes:
        return bytes(self.digests[32 * i : 32 * i + 32])

    def arguments(self) -> tuple[bytes, bytes, bytes, ctypes.c_size_t]:
        return bytes(self.keys), bytes(self.digests), bytes(self.signatures), ctypes.c_size_t(self.n)


def coefficients(face: ctypes.CDLL, batch: Batch) -> list[int]:
    out = ctypes.create_string_buffer(16 * batch.n)
    assert face.face_coefficients(*batch.arguments(), out) == 0
    return [int.from_bytes(out.raw[16 * i : 16 * i + 16], "little") for i in range(batch.n)]


def expected(batch: Batch) -> list[int]:
    """The coefficients from the rule in words: tree over rows of A, R, S, k; its root and n; counters."""
    leaves = []
    for i in range(batch.n):
        key, signature = bytes(batch.keys[32 * i :][:32]), bytes(batch.signatures[64 * i :][:64])
        k = reference.challenge(signature[:32], key, batch.digest(i)).to_bytes(32, "little")
        context = "cherrydag 2026-11 ed25519 batch transcript row"
        leaves.append(blake3.blake3(key + signature + k, derive_key_context=context).digest())
    root = merkle_root_reference(leaves) + batch.n.to_bytes(8, "little")
    seed = blake3.blake3(root, derive_key_context="cherrydag 2026-11 ed25519 batch seed").digest()
    counters = (i.to_bytes(8, "little") for i in range((batch.n + 1) // 2))
    stream = b"".join(blake3.blake3(counter, key=seed).digest() for counter in counters)
    return [int.from_bytes(stream[16 * i :][:16], "little") % 2**126 for i in range(batch.n)]


@pytest.mark.parametrize("n", [1, 2, 3, 24, 65, 2048])
def test_coefficients_follow_the_rule(face: ctypes.CDLL, n: int) -> None:
    batch = Batch(n)
    assert coefficients(face, batch) == expected(batch)


def test_coefficients_are_126_bits_and_distinct(face: ctypes.CDLL) -> None:
    drawn = coefficients(face, Batch(2048))
    assert len(set(drawn)) == 2048
    assert max(z.bit_length() for z in drawn) == 126


@pytest.mark.parametrize("field", ["keys", "digests", "signatures"])
def test_every_byte_of_a_batch_changes_every_coefficient(face: ctypes.CDLL, field: str) -> None:
    """R, S, A and the message alike: with S left out, two errors could be fitted to cancel."""
    batch = Batch(5)
    before = coefficients(face, batch)
    column = getattr(batch, field)
    for position in range(len(column)):
        if field == "signatures" and position % 64 == 63:
            continue  # the top byte of S: a change may leave the canonical range, and the batch
        column[position] ^= 1
        after = coefficients(face, batch)
        assert all(a != b for a, b in zip(after, before, strict=True)), position
        column[position] ^= 1
    assert coefficients(face, batch) == before


SIZES = [1, 2, 5, 24, 95, 96, 111, 112, 299, 300, 399, 400, 699, 700, 1024, 2048]  # every window width


@pytest.mark.parametrize("n", SIZES)
def test_the_equation_holds_for_valid_signatures_and_for_no_others(face: ctypes.CDLL, n: int) -> None:
    """A wrong equation would still give right verdicts, one by one, at a third of the speed."""
    batch = Batch(n)
    for which in range(face.face_backends()):
        assert face.face_equation_holds(which, *batch.arguments()) == 1
        for bad in {0, n // 2, n - 1}:
            batch.signatures[64 * bad + 40] ^= 1
            assert face.face_equation_holds(which, *batch.arguments()) == 0
            batch.signatures[64 * bad + 40] ^= 1


def test_the_equation_holds_with_signers_in_common(face: ctypes.CDLL) -> None:
    one = Batch(30)
    for name in ("keys", "digests", "signatures"):
        setattr(one, name, getattr(one, name) * 5)
    one.n = 150
    for which in range(face.face_backends()):
        assert face.face_equation_holds(which, *one.arguments()) == 1


def test_the_equation_takes_torsioned_and_small_order_signatures(face: ctypes.CDLL) -> None:
    """They are valid by ZIP-215, so they must not send a batch to the slow path."""
    torsion, rng, batch = reference.torsion_points(), random.Random(5), Batch(40)
    for i in range(8):
        a, r = rng.randrange(1, reference.ORDER), rng.randrange(1, reference.ORDER)
        shifted = (
            reference.encode(reference.add(reference.multiply(scalar, reference.BASE), torsion[(i * j) % 8]))
            for scalar, j in ((a, 1), (r, 3))
        )
        key, commitment = shifted
        s = (r + reference.challenge(commitment, key, batch.digest(i)) * a) % reference.ORDER
        batch.keys[32 * i : 32 * i + 32] = key
        batch.signatures[64 * i : 64 * i + 64] = commitment + s.to_bytes(32, "little")
    encodings = reference.small_order_encodings()
    for i in range(8, 22):
        batch.keys[32 * i : 32 * i + 32] = encodings[i - 8]
        batch.signatures[64 * i : 64 * i + 64] = encodings[(5 * i) % 14] + bytes(32)
    for which in range(face.face_backends()):
        assert face.face_equation_holds(which, *batch.arguments()) == 1


@pytest.mark.parametrize(
    ("bad", "equations", "alone"),
    [
        ([0], 8, 1),
        ([2047], 7, 1),  # all others hold, so the last must fail: it is not tried
        ([1000, 1001, 1023], 8, 1),  # one part has them all
        ([0, 2047], 8, 2),
        ([0, 300], 2, 8),  # two failures in the first two: the rest alone
        ([0, 1100], 5, 5),
        (list(range(2048)), 2, 8),
    ],
)
def test_the_work_for_bad_signatures_is_bounded(
    face: ctypes.CDLL, bad: list[int], equations: int, alone: int
) -> None:
    """Equations over eighths of a batch until two have failed; ``alone`` eighths checked one by one."""
    batch = Batch(2048)
    for i in bad:
        batch.signatures[64 * i + 40] ^= 1
    verdicts = bytes(i not in set(bad) for i in range(2048))
    for which in range(face.face_backends()):
        work, valid = (ctypes.c_size_t * 3)(), ctypes.create_string_buffer(2048)
        assert face.face_work_of_parts(which, *batch.arguments(), work, valid) == 0
        assert valid.raw == verdicts
        assert list(work) == [equations, 256 * equations, 256 * alone]


def test_a_small_batch_that_fails_has_no_parts(face: ctypes.CDLL) -> None:
    batch = Batch(100)
    batch.signatures[40] ^= 1
    for which in range(face.face_backends()):
        work, valid = (ctypes.c_size_t * 3)(), ctypes.create_string_buffer(100)
        assert face.face_work_of_parts(which, *batch.arguments(), work, valid) == 0
        assert (list(work), valid.raw) == ([0, 0, 100], b"\0" + b"\1" * 99)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 400])
def test_exactly_the_points_of_the_curve_decode(face: ctypes.CDLL, n: int) -> None:
    rng = random.Random(n)
    edges = [y + (sign << 255) for y in (0, 1, 2, P - 1, P, P + 1, P + 18, 2**255 - 1) for sign in (0, 1)]
    encodings = [edge.to_bytes(32, "little") for edge in edges] + reference.small_order_encodings()
    encodings += [rng.randbytes(32) for _ in range(400)]
    rng.shuffle(encodings)
    on_curve = bytes(reference.decode(encoding) is not None for encoding in encodings[:n])
    for which in range(face.face_backends()):
        ok = ctypes.create_string_buffer(n)
        assert face.face_decode(which, b"".join(encodings[:n]), ctypes.c_size_t(n), ok) == 0
        assert ok.raw == on_curve


def verify(face: ctypes.CDLL, batch: Batch) -> bytes:
    valid = ctypes.create_string_buffer(batch.n)
    assert face.face_verify(*batch.arguments(), valid) == 0
    return valid.raw


def test_only_keys_of_valid_signatures_are_remembered(face: ctypes.CDLL) -> None:
    face.cd_ed25519_clear_key_cache()
    junk = Batch(200, seed=2)
    for i in range(200):
        junk.signatures[64 * i + 40] ^= 1
    assert verify(face, junk) == bytes(200)
    assert face.face_cached_keys() == 0
    mixed = Batch(100, seed=3)
    for i in range(0, 100, 4):
        mixed.signatures[64 * i + 40] ^= 1
    assert verify(face, mixed).count(1) == 75
    assert face.face_cached_keys() == 75
    assert verify(face, mixed).count(1) == 75
    assert face.face_cached_keys() == 75
    face.cd_ed25519_clear_key_cache()
    assert face.face_cached_keys() == 0


def test_idle_scratch_is_bounded(face: ctypes.CDLL) -> None:
    """However many threads verify at once, four blocks of 3 MiB stay behind at most."""
    batches = [Batch(64, seed) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        for _ in range(5):
            assert list(pool.map(lambda batch: verify(face, batch), batches)) == [b"\1" * 64] * 12
    assert 1 <= face.face_idle_scratch() <= 4
