"""Field and scalar arithmetic of ext/ed25519 against Python integers, on extreme limbs in every lane."""

import ctypes
import itertools
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from compiled import compile_shared
from reference.ed25519_reference import ORDER, P

from cherrydag import crypto

MUL, SQUARE, ADD, SUB, CANONICAL, MUL_OPERAND, SQUARE_OPERAND, MUL_LOOSE, SQUARE_LOOSE = range(9)
TOP = 2**47 + 2**13  # FX_TOP: limb 4 of a factor stays below
LOOSE = 2**57 - 2**10  # FX_LOOSE: limbs of a term stay below
LIMB_EXTREMES = (0, 1, 19, 2**51, 2**52 - 20, 2**52 - 19, 2**52 - 2, 2**52 - 1)
TOP_EXTREMES = (0, 1, 2**46, 2**47 - 1, 2**47, TOP - 1)
Lanes = list[list[int]]  # eight elements of five limbs

needs_ifma = pytest.mark.skipif("avx512ifma" not in crypto.backends(), reason="this CPU has no AVX512-IFMA")
FACE = Path(__file__).with_name("field_face.c")
FLAGS = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512ifma", "-mbmi2"]


@pytest.fixture(scope="module")
def face() -> ctypes.CDLL:
    """The inline field code with its invariants checked: a broken bound aborts the test run."""
    if "avx512ifma" not in crypto.backends():
        pytest.skip("this CPU has no AVX512-IFMA")
    return compile_shared(FACE, "field_face", [*FLAGS, "-DCD_VERIFY"])


def value(limbs: Sequence[int], radix: int = 52) -> int:
    return sum(limb << (radix * i) for i, limb in enumerate(limbs))


def run(face: ctypes.CDLL, operation: int, a: Lanes, b: Lanes) -> Lanes:
    matrix = ctypes.c_uint64 * 8 * 5
    rows = [matrix(*[(ctypes.c_uint64 * 8)(*[lane[i] for lane in x]) for i in range(5)]) for x in (a, b)]
    out = matrix()
    face.face_fx(operation, rows[0], rows[1], out)
    return [[out[i][lane] for i in range(5)] for lane in range(8)]


def batches(elements: list[list[int]], rng: random.Random) -> list[tuple[Lanes, Lanes]]:
    """Every element once on each side, in a random lane, with a random partner: lanes are distinct."""
    first, second = elements[:], elements[:]
    rng.shuffle(first)
    rng.shuffle(second)
    return [(first[i : i + 8], second[i : i + 8]) for i in range(0, len(elements) - 7, 8)]


def extreme_elements() -> list[list[int]]:
    """p±1, 2p-1 and their kin, and products of extreme limbs."""
    around = [[(n >> 52 * i) & (2**52 - 1) for i in range(5)] for n in (0, 1, P - 1, P, P + 1, 2**255 - 1)]
    around += [[2**52 - 19 + d, 2**52 - 1, 2**52 - 1, 2**52 - 1, 2**47 - 1] for d in (-1, 0, 1)]
    twice = 2 * P - 1
    around.append([twice & (2**52 - 1), *[(twice >> 52 * i) & (2**52 - 1) for i in (1, 2, 3)], twice >> 208])
    around[-1][4] = min(around[-1][4], TOP - 1)
    limbs = itertools.product((0, 2**52 - 1), (1, 2**52 - 1), (0, 2**52 - 19), (0, 2**52 - 1), TOP_EXTREMES)
    return around + [list(x) for x in limbs]


def random_extremes(rng: random.Random, n: int) -> list[list[int]]:
    return [
        [*(rng.choice((*LIMB_EXTREMES, rng.getrandbits(52))) for _ in range(4)), rng.choice(TOP_EXTREMES)]
        for _ in range(n)
    ]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (MUL, lambda a, b: a * b),
        (SQUARE, lambda a, b: a * a),
        (ADD, lambda a, b: a + b),
        (SUB, lambda a, b: a - b),
    ],
)
def test_arithmetic_on_extreme_limbs(
    face: ctypes.CDLL, operation: int, expected: Callable[[int, int], int]
) -> None:
    rng = random.Random(operation)
    elements = extreme_elements() + random_extremes(rng, 4000)
    for a, b in batches(elements, rng):
        for x, y, r in zip(a, b, run(face, operation, a, b), strict=True):
            limbs = r if operation in (MUL, SQUARE) else [*(limb & (2**52 - 1) for limb in r[:4]), r[4]]
            assert value(limbs) % P == expected(value(x), value(y)) % P
            assert all(limb < 2**52 for limb in limbs[:4]), "not carried"
            assert limbs[4] < TOP, "limb 4 breaks the bound that the next product relies on"


def test_a_factor_may_carry_bits_above_52(face: ctypes.CDLL) -> None:
    rng = random.Random(5)
    for _ in range(500):
        clean = [random_extremes(rng, 8), random_extremes(rng, 8)]
        dirty = [
            [[*(limb | rng.getrandbits(12) << 52 for limb in x[:4]), x[4]] for x in side] for side in clean
        ]
        for operation in (MUL, SQUARE):
            assert run(face, operation, *dirty) == run(face, operation, *clean)


def test_sums_of_loose_terms(face: ctypes.CDLL) -> None:
    rng = random.Random(6)
    choices = (0, 1, 2**52, 2**55, LOOSE - 1)
    for _ in range(500):
        a, b = ([[rng.choice(choices) for _ in range(5)] for _ in range(8)] for _ in range(2))
        for operation, sign in ((ADD, 1), (SUB, -1)):
            for x, y, r in zip(a, b, run(face, operation, a, b), strict=True):
                got = value([*(limb & (2**52 - 1) for limb in r[:4]), r[4]])
                assert got % P == (value(x) + sign * value(y)) % P
                assert r[4] < TOP


def test_products_before_carrying_stay_loose(face: ctypes.CDLL) -> None:
    """The largest factors give columns below 2^55.5, so that sums of three stay below FX_LOOSE."""
    largest = [[2**52 - 1] * 4 + [TOP - 1]] * 8
    for operation in (MUL_LOOSE, SQUARE_LOOSE):
        for r in run(face, operation, largest, largest):
            assert value(r) % P == value(largest[0]) ** 2 % P
            assert max(r) < 2**55.5


def test_radix_52_bound_follows_from_its_statement() -> None:
    """Worst case of every column in exact integers: what field52.h states about limb 4."""
    full, top = 2**52 - 1, TOP - 1
    limbs = [full] * 4 + [top]
    columns = [0] * 10
    for i, j in itertools.product(range(5), range(5)):
        columns[i + j] += full if (i, j) != (4, 4) else min(full, limbs[4] * limbs[4])
        columns[i + j + 1] += limbs[i] * limbs[j] >> 52
    for k in range(5, 9):
        columns[k + 1] += columns[k] >> 52
    assert columns[9] < 2**52 // 608
    assert (TOP - 1) ** 2 < 2**94.75
    low = [columns[k] + full + (608 if k else 0) for k in range(5)]
    assert 3 * max(low) < LOOSE, "three products may be summed"
    assert max(low) + LOOSE < 2**59, "fx_fold's top word"


@needs_ifma
def test_a_factor_beyond_the_bound_is_caught() -> None:
    """The check can fail: limb 4 of 2^47.5 aborts the checked build."""
    script = (
        "import ctypes, sys; face = ctypes.CDLL(sys.argv[1]); m = ctypes.c_uint64 * 8 * 5; a = m(); o = m()\n"
        "a[4][3] = int(sys.argv[2]); face.face_fx(0, a, a, o)"
    )
    library = compile_shared(FACE, "field_face", [*FLAGS, "-DCD_VERIFY"])._name
    for limb, stops in ((TOP - 1, False), (TOP, True), (int(2**47.5), True)):
        done = subprocess.run(
            [sys.executable, "-c", script, library, str(limb)], capture_output=True, text=True
        )
        assert (done.returncode != 0) == stops, done
        assert ("invariant broken" in done.stderr) == stops


def test_canonical_form_and_zero(face: ctypes.CDLL) -> None:
    rng = random.Random(7)
    for a, _ in batches(extreme_elements() + random_extremes(rng, 800), rng):
        canonical = run(face, CANONICAL, a, a)
        assert [value(x) for x in canonical] == [value(x) % P for x in a]
        matrix = ctypes.c_uint64 * 8 * 5
        rows = matrix(*[(ctypes.c_uint64 * 8)(*[lane[i] for lane in a]) for i in range(5)])
        zeros = sum((value(x) % P == 0) << lane for lane, x in enumerate(a))
        assert face.face_fx_is_zero(rows) == zeros


def test_transpose_moves_every_word(face: ctypes.CDLL) -> None:
    rows = (ctypes.c_uint64 * 8 * 8)(*[(ctypes.c_uint64 * 8)(*range(8 * i, 8 * i + 8)) for i in range(8)])
    face.face_fx_transpose(rows)
    assert [list(row) for row in rows] == [[8 * j + i for j in range(8)] for i in range(8)]


def portable(face: ctypes.CDLL, operation: int, a: list[int], b: list[int]) -> list[int]:
    out = (ctypes.c_uint64 * 5)()
    face.face_fe51(operation, (ctypes.c_uint64 * 5)(*a), (ctypes.c_uint64 * 5)(*b), out)
    return list(out)


def test_portable_arithmetic_on_extreme_limbs(face: ctypes.CDLL) -> None:
    rng = random.Random(8)
    reduced = (0, 1, 2**51 - 19, 2**51 - 1, 2**51 + 2**13 - 1)
    factors = (*reduced, 2**53, 2**54 - 1)
    for _ in range(4000):
        a, b = ([rng.choice(factors) for _ in range(5)] for _ in range(2))
        x, y = value(a, 51), value(b, 51)
        for operation, expected in ((MUL, x * y), (SQUARE, x * x)):
            r = portable(face, operation, a, b)
            assert value(r, 51) % P == expected % P
            assert max(r) < 2**51 + 2**13
        assert value(portable(face, CANONICAL, a, b), 51) == x % P
        c, d = ([rng.choice(reduced) for _ in range(5)] for _ in range(2))
        twice = [2 * limb for limb in d]  # a subtrahend may be a sum of two
        assert value(portable(face, SUB, c, twice), 51) % P == (value(c, 51) - value(twice, 51)) % P
        assert value(portable(face, ADD, c, d), 51) == value(c, 51) + value(d, 51)


def test_radix_conversion_keeps_the_value(face: ctypes.CDLL) -> None:
    rng = random.Random(9)
    for n in [0, 1, P - 1, P, P + 18, 2**255 - 1, *(rng.getrandbits(255) for _ in range(300))]:
        a = (ctypes.c_uint64 * 5)(*[(n >> 51 * i) & (2**51 - 1) for i in range(5)])
        b, back = (ctypes.c_uint64 * 5)(), (ctypes.c_uint64 * 5)()
        face.face_radix(a, b, back)
        assert value(list(b)) == n % P
        assert value(list(back), 51) % P == n % P


def words(n: int, count: int) -> "ctypes.Array[ctypes.c_uint64]":
    return (ctypes.c_uint64 * count)(*[(n >> 64 * i) & (2**64 - 1) for i in range(count)])


def number(array: Sequence[int]) -> int:
    return sum(word << 64 * i for i, word in enumerate(array))


def interesting_wide(rng: random.Random) -> list[int]:
    near = [k * ORDER + d for k in (0, 1, 2, 2**259 - 1, (2**512 - 1) // ORDER) for d in (-1, 0, 1)]
    edges = [2**512 - 1, 2**511, 2**252, 2**253 - 1, 2**256 - 1]
    return [n for n in near + edges if 0 <= n < 2**512] + [rng.getrandbits(512) for _ in range(2000)]


def test_scalar_reduction(face: ctypes.CDLL) -> None:
    for n in interesting_wide(random.Random(10)):
        out = (ctypes.c_uint64 * 4)()
        face.face_scalar_reduce(words(n, 8), out)
        assert number(out) == n % ORDER


def test_scalar_canonical_check_is_exact(face: ctypes.CDLL) -> None:
    edges = [ORDER + d for d in (-2, -1, 0, 1)] + [0, 2**252, 2**253, 2**255, 2**256 - 1]
    edges += [ORDER ^ 1 << bit for bit in range(256)]
    for n in edges:
        assert face.face_scalar_is_canonical(words(n, 4)) == (n < ORDER)


def test_scalar_negation_and_accumulation(face: ctypes.CDLL) -> None:
    rng = random.Random(11)
    total, expected = words(0, 8), 0
    for s in [0, 1, ORDER - 1, *(rng.randrange(ORDER) for _ in range(300))]:
        out = (ctypes.c_uint64 * 4)()
        face.face_scalar_negate(words(s, 4), out)
        assert number(out) == -s % ORDER
        z = rng.choice((0, 1, 2**126 - 1, rng.getrandbits(126)))
        face.face_add_product(total, words(z, 2), words(s, 4))
        expected += z * s
        assert number(total) == expected


@pytest.mark.parametrize("width", [5, 6, 7, 8, 10])
def test_signed_digits_hold_the_value(face: ctypes.CDLL, width: int) -> None:
    rng = random.Random(width)
    for bits, count in ((126, 2), (253, 4)):
        for n in (0, 1, 2**bits - 1, 2 ** (bits - 1), *(rng.getrandbits(bits) for _ in range(300))):
            digits = (ctypes.c_int32 * 64)()
            assert face.face_digits(words(n, count), count, bits, width, digits) == 0
            assert sum(d << width * i for i, d in enumerate(digits)) == n
            assert all(-(2 ** (width - 1)) <= d < 2 ** (width - 1) for d in digits)
