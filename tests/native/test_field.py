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


# Four lanes of radix 2^25.5, for AVX2

MUL_25, SQUARE_25, ADD_25, SUB_25, TIGHTEN_25, PACK_25, CANONICAL_25 = range(7)
BITS_25 = (26, 25) * 5
WEIGHTS_25 = (0, 26, 51, 77, 102, 128, 153, 179, 204, 230)
FULL_25 = [2**bits - 1 for bits in BITS_25]
TIGHT_25 = [2**26 + 2**12, 2**25 + 2**16] * 5  # FY_TIGHT_EVEN, FY_TIGHT_ODD: limbs stay below
LOOSE_25 = [(2**32 - 1) // 19, (2**32 - 1) // 38] * 5  # FY_LOOSE_EVEN, FY_LOOSE_ODD
TWICE_P_25 = [2 * (limb - 18 * (i == 0)) for i, limb in enumerate(FULL_25)]
FACE_25 = Path(__file__).with_name("field25_face.c")
FLAGS_25 = ["-mavx2", "-DCD_VERIFY"]


@pytest.fixture(scope="module")
def face25() -> ctypes.CDLL:
    if "avx2" not in crypto.backends():
        pytest.skip("this CPU has no AVX2")
    return compile_shared(FACE_25, "field25_face", FLAGS_25)


def value_25(limbs: Sequence[int]) -> int:
    return sum(limb << weight for limb, weight in zip(limbs, WEIGHTS_25, strict=True))


def limbs_25(n: int) -> list[int]:
    return [n >> weight & full for weight, full in zip(WEIGHTS_25, FULL_25, strict=True)]


def rows_25(lanes: Lanes) -> ctypes.Array[ctypes.Array[ctypes.c_uint64]]:
    return (ctypes.c_uint64 * 4 * 10)(
        *[(ctypes.c_uint64 * 4)(*[lane[i] for lane in lanes]) for i in range(10)]
    )


def columns_25(rows: ctypes.Array[ctypes.Array[ctypes.c_uint64]], count: int = 10) -> Lanes:
    return [[rows[i][lane] for i in range(count)] for lane in range(4)]


def run_25(face: ctypes.CDLL, operation: int, a: Lanes, b: Lanes) -> Lanes:
    out = rows_25([[0] * 10] * 4)
    face.face_fy(operation, rows_25(a), rows_25(b), out)
    return columns_25(out, 5 if operation in (PACK_25, CANONICAL_25) else 10)


def elements_25(rng: random.Random, bounds: list[int], n: int) -> list[list[int]]:
    """Around 0, p and 2^255, limbs at their bounds one by one and all together, and n random mixes."""
    elements = [limbs_25(k) for k in (0, 1, 18, 19, P - 1, P, P + 1, 2**255 - 20, 2**255 - 1)]
    elements += [
        [full + d for full, d in zip(FULL_25, (*[0] * i, 1, *[0] * (9 - i)), strict=True)] for i in range(10)
    ]
    elements.append([bound - 1 for bound in bounds])
    elements += [[(bound - 1) * (i == k) for i, bound in enumerate(bounds)] for k in range(10)]
    for _ in range(n):
        pairs = zip(FULL_25, bounds, strict=True)
        choices = ((0, 1, full, full + 1, bound - 1, rng.randrange(bound)) for full, bound in pairs)
        elements.append([rng.choice(choice) for choice in choices])
    return elements


def batches_25(elements: list[list[int]], rng: random.Random) -> list[tuple[Lanes, Lanes]]:
    first, second = rng.sample(elements, len(elements)), rng.sample(elements, len(elements))
    return [(first[i : i + 4], second[i : i + 4]) for i in range(0, len(elements) - 3, 4)]


def assert_below(limbs: Sequence[int], bounds: Sequence[int]) -> None:
    assert all(limb < bound for limb, bound in zip(limbs, bounds, strict=True)), limbs


def test_radix_25_products_of_extreme_limbs(face25: ctypes.CDLL) -> None:
    rng = random.Random(12)
    for a, b in batches_25(elements_25(rng, LOOSE_25, 4000), rng):
        for operation, factors in ((MUL_25, b), (SQUARE_25, a)):
            for x, y, r in zip(a, factors, run_25(face25, operation, a, b), strict=True):
                assert value_25(r) % P == value_25(x) * value_25(y) % P
                assert_below(r, TIGHT_25)


def test_a_radix_25_factor_may_carry_bits_above_32(face25: ctypes.CDLL) -> None:
    rng = random.Random(17)
    for a, b in batches_25(elements_25(rng, LOOSE_25, 400), rng):
        dirty = [[[limb | rng.getrandbits(32) << 32 for limb in x] for x in side] for side in (a, b)]
        for operation in (MUL_25, SQUARE_25):
            assert run_25(face25, operation, *dirty) == run_25(face25, operation, a, b)


def test_radix_25_sums_and_differences(face25: ctypes.CDLL) -> None:
    rng = random.Random(13)
    for a, b in batches_25(elements_25(rng, TIGHT_25, 2000), rng):
        for operation, sign in ((ADD_25, 1), (SUB_25, -1)):
            for x, y, r in zip(a, b, run_25(face25, operation, a, b), strict=True):
                assert value_25(r) % P == (value_25(x) + sign * value_25(y)) % P
                assert_below(r, LOOSE_25)


def test_radix_25_carrying_and_packing(face25: ctypes.CDLL) -> None:
    rng = random.Random(14)
    for a, _ in batches_25(elements_25(rng, LOOSE_25, 2000), rng):
        values = [value_25(x) % P for x in a]
        tight, packed, canonical = (run_25(face25, op, a, a) for op in (TIGHTEN_25, PACK_25, CANONICAL_25))
        for n, x, y, z in zip(values, tight, packed, canonical, strict=True):
            assert value_25(x) % P == n
            assert_below(x, TIGHT_25)
            assert value(y, 51) % P == n
            assert_below(y, [2**51 + 19 * 2**3, *[2**51] * 4])
            assert value(z, 51) == n
            assert_below(z, [2**51] * 5)
        assert face25.face_fy_is_zero(rows_25(a)) == sum((n == 0) << lane for lane, n in enumerate(values))


def test_radix_25_packing_of_every_form_of_zero(face25: ctypes.CDLL) -> None:
    """0, p and 2p, and their neighbours, as decoding meets them: in differences and sums."""
    rng = random.Random(15)
    tight = elements_25(rng, TIGHT_25, 400)
    for a, _ in batches_25(tight, rng):
        assert face25.face_fy_is_zero(rows_25(run_25(face25, SUB_25, a, a))) == 0b1111
        shifted = [limbs_25((value_25(x) + lane - 1) % P) for lane, x in enumerate(a)]
        assert face25.face_fy_is_zero(rows_25(run_25(face25, SUB_25, a, shifted))) == 0b0010
        negated = [limbs_25(-value_25(x) % P) for x in a]
        assert face25.face_fy_is_zero(rows_25(run_25(face25, ADD_25, a, negated))) == 0b1111


def test_radix_25_moves_of_lanes_and_limbs(face25: ctypes.CDLL) -> None:
    a = [[100 * lane + i for i in range(10)] for lane in range(4)]
    b = [[1000 + limb for limb in x] for x in a]
    for bits in range(16):
        out = rows_25(a)
        face25.face_fy_select(bits, rows_25(a), rows_25(b), out)
        assert columns_25(out) == [(b if bits >> lane & 1 else a)[lane] for lane in range(4)]
    rows = (ctypes.c_uint64 * 4 * 4)(*[(ctypes.c_uint64 * 4)(*range(4 * i, 4 * i + 4)) for i in range(4)])
    face25.face_fy_transpose(rows)
    assert [list(row) for row in rows] == [[4 * j + i for j in range(4)] for i in range(4)]
    for n in (0, 1, P - 1, random.Random(16).randrange(P)):
        out = rows_25(a)
        face25.face_fy_constant((ctypes.c_uint64 * 5)(*[n >> 51 * i & (2**51 - 1) for i in range(5)]), out)
        assert columns_25(out) == [limbs_25(n)] * 4


def test_radix_25_bounds_follow_from_their_statement() -> None:
    """Worst case of every word in exact integers: what field25.h states."""
    loose, tight = ([bound - 1 for bound in bounds] for bounds in (LOOSE_25, TIGHT_25))
    columns = [0] * 10
    for i, j in itertools.product(range(10), range(10)):
        factor = (19 if i + j >= 10 else 1) * (2 if i & j & 1 else 1)
        assert WEIGHTS_25[i] + WEIGHTS_25[j] == WEIGHTS_25[(i + j) % 10] + 255 * (i + j >= 10) + (i & j & 1)
        columns[(i + j) % 10] += factor * loose[i] * loose[j]
    assert all(19 * limb < 2**32 for limb in loose)
    assert all(38 * limb < 2**32 for limb in loose[1::2])
    assert max(columns) < 2**62.5
    for i in (0, 5, 1, 6, 2, 7, 3, 8, 4, 9, 0, 5):  # fy_reduce
        carry, columns[i] = columns[i] >> BITS_25[i], FULL_25[i]
        columns[(i + 1) % 10] += carry * (19 if i == 9 else 1)
        assert columns[(i + 1) % 10] < 2**63
    assert_below(columns, TIGHT_25)
    assert [i for i in range(10) if columns[i] > FULL_25[i]] == [1, 6]
    assert value_25(TWICE_P_25) == 2 * P
    assert_below(tight, TWICE_P_25)
    assert_below([2 * limb for limb in tight], LOOSE_25)
    assert_below([limb + twice for limb, twice in zip(tight, TWICE_P_25, strict=True)], LOOSE_25)
    carries = [limb >> bits for limb, bits in zip(loose, BITS_25, strict=True)]  # fy_tighten, fy_pack
    assert_below([full + carries[i - 1] * (1 if i else 19) for i, full in enumerate(FULL_25)], TIGHT_25)
    assert max(even + (odd << 26) for even, odd in itertools.pairwise(loose)) >> 51 < 2**3 - 1


def test_a_radix_25_limb_beyond_its_bound_is_caught(face25: ctypes.CDLL) -> None:
    """The checks can fail: in any lane, for factors and for terms."""
    script = (
        "import ctypes, sys; face = ctypes.CDLL(sys.argv[1]); m = ctypes.c_uint64 * 4 * 10; a, o = m(), m()\n"
        "op, i, lane, limb = map(int, sys.argv[2:]); a[i][lane] = limb; face.face_fy(op, a, a, o)"
    )
    cases = [(MUL_25, 0, 0, LOOSE_25[0]), (MUL_25, 1, 1, LOOSE_25[1]), (MUL_25, 8, 2, LOOSE_25[8])]
    cases += [(SQUARE_25, 3, 3, LOOSE_25[3]), (TIGHTEN_25, 9, 1, LOOSE_25[9]), (PACK_25, 4, 0, LOOSE_25[4])]
    cases += [(ADD_25, 2, 2, TIGHT_25[2]), (SUB_25, 5, 3, TIGHT_25[5])]
    for operation, i, lane, bound in cases:
        for limb, stops in ((bound - 1, False), (bound, True), (2**64 - 1, True)):
            arguments = [face25._name, *map(str, (operation, i, lane, limb))]
            done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
            assert (done.returncode != 0) == stops, done
            assert ("invariant broken" in done.stderr) == stops
