"""Every bench, defined once: `tools/bench.py` and `pytest bench/` both run what CASES holds.

To add one, write a function that returns a Prepared and decorate it with @case for each name, the first
one lowest; its keyword arguments are the numbers in the name. Inputs come from fixed seeds, so two runs
time the same work.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError
from reference.dag_reference import ReferenceDag

from cherrydag import crypto
from cherrydag.dag import graph
from cherrydag.params import RECORD_BYTES
from cherrydag.primitives import Digest, Round
from cherrydag.transaction import RECORD, build_transfers

SEED = 20261122
KEYS = 1024
LIBSODIUM = "libsodium single verify (PyNaCl)"
BLAKE3 = "blake3 package, one call each"
PLAIN_DAG = "dicts and sets in plain Python"


def nothing() -> None:
    """Do nothing: what most cases need between two calls."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Two things to time over the same kind of items, ours and the baseline."""

    run: Callable[[], object]
    items: int
    baseline_run: Callable[[], object]
    baseline_items: int
    reset: Callable[[], None] = nothing
    """Called before each call of run, outside the timed part."""


@dataclass(frozen=True, slots=True)
class Case:
    """A named bench. `unit` is time per item: us/… or ns/…."""

    name: str
    unit: str
    baseline: str
    prepare: Callable[[], Prepared]

    @property
    def scale(self) -> float:
        """Units in a second."""
        return {"us": 1e6, "ns": 1e9}[self.unit.partition("/")[0]]


CASES: dict[str, Case] = {}
Setup: TypeAlias = Callable[..., Prepared]


def case(name: str, unit: str, baseline: str, **arguments: int) -> Callable[[Setup], Setup]:
    """Register a setup under a name; `arguments` are passed to it."""

    def register(setup: Setup) -> Setup:
        CASES[name] = Case(name, unit, baseline, partial(setup, **arguments))
        return setup

    return register


@dataclass(frozen=True, slots=True)
class Signed:
    """n signatures over 32-byte digests, row-major."""

    public_keys: bytes
    digests: bytes
    signatures: bytes
    attached: list[tuple[bytes, bytes]]
    """(signature || digest, public key) of each: what libsodium takes."""

    def verify(self) -> bytes:
        """Check them all in one call."""
        return crypto.verify_signatures(self.public_keys, self.digests, self.signatures)

    def verify_singly(self, count: int) -> int:
        """Check the first `count` with libsodium; return how many are valid."""
        valid = 0
        for signed, public_key in self.attached[:count]:
            try:
                crypto_sign_open(signed, public_key)
            except BadSignatureError:
                continue
            valid += 1
        return valid


def sign(n: int, signers: int, bad: int = 0) -> Signed:
    """n signatures by `signers` keys in turn; `bad` of them, spread at random, have a flipped bit."""
    rng = random.Random(SEED)
    keys = [crypto_sign_seed_keypair(rng.randbytes(32)) for _ in range(signers)]
    attached = []
    broken = set(rng.sample(range(n), bad))
    for i in range(n):
        public_key, secret_key = keys[i % signers]
        signed = bytearray(crypto_sign(rng.randbytes(32), secret_key))
        signed[40] ^= i in broken
        attached.append((bytes(signed), public_key))
    return Signed(
        public_keys=b"".join(public_key for _, public_key in attached),
        digests=b"".join(signed[64:] for signed, _ in attached),
        signatures=b"".join(signed[:64] for signed, _ in attached),
        attached=attached,
    )


@case("verify.bad/n=1024,bad=100", "us/signature", LIBSODIUM, n=1024, bad=100)
@case("verify.bad/n=1024,bad=1", "us/signature", LIBSODIUM, n=1024, bad=1)
@case("verify.batch/n=1024,signers=128", "us/signature", LIBSODIUM, n=1024, signers=128)
@case("verify.batch/n=1024,cached", "us/signature", LIBSODIUM, n=1024, cached=True)
@case("verify.batch/n=1024", "us/signature", LIBSODIUM, n=1024)
@case("verify.batch/n=256", "us/signature", LIBSODIUM, n=256)
@case("verify.batch/n=64", "us/signature", LIBSODIUM, n=64)
def verify(n: int, signers: int = KEYS, bad: int = 0, cached: bool = False) -> Prepared:
    """Batch verification; the keys are new to us in every call unless `cached`."""
    signed = sign(n, min(n, signers), bad)
    if signed.verify().count(1) != n - bad or signed.verify_singly(n) != n - bad:
        raise AssertionError(f"of {n} signatures not exactly {bad} were refused")
    few = min(n, 128)
    reset = nothing if cached else crypto.clear_key_cache
    return Prepared(signed.verify, n, lambda: signed.verify_singly(few), few, reset)


@case("digest.hash_records/size=112", "ns/hash", BLAKE3, size=112)
def hash_records(size: int) -> Prepared:
    """Hash the heads of 4096 records, as transaction ids do."""
    count = 4096
    data = random.Random(SEED).randbytes(count * RECORD_BYTES)
    records = np.frombuffer(data, dtype=RECORD)
    messages = [data[at : at + size] for at in range(0, len(data), RECORD_BYTES)][:1024]
    run = partial(crypto.hash_records, records, 0, size)
    if run()[:32] != blake3(messages[0]).digest():
        raise AssertionError("the hashes disagree")
    return Prepared(run, count, lambda: [blake3(message).digest() for message in messages], len(messages))


@case("digest.merkle/leaves=65536", "ns/node", BLAKE3, leaves=65536)
def merkle(leaves: int) -> Prepared:
    """Merkle root; the baseline builds the tree over the first 1024 leaves."""
    data = random.Random(SEED).randbytes(leaves * 32)
    few = [data[at : at + 32] for at in range(0, 1024 * 32, 32)]

    def baseline() -> bytes:
        level = few
        while len(level) > 1:
            level = [blake3(level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
        return level[0]

    return Prepared(partial(crypto.merkle_root, data), leaves - 1, baseline, len(few) - 1)


@case("transaction.build/n=1000000", "ns/transaction", "numpy copy of the same records", n=1_000_000)
def build(n: int) -> Prepared:
    """Fill a million unsigned transfers; the baseline copies ready records of the same number."""
    rng = np.random.default_rng(SEED)
    senders = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    recipients = rng.integers(0, 256, (n, 20), dtype=np.uint8)
    amounts = rng.integers(1, 2**40, n, dtype=np.uint64)
    nonces = np.arange(n, dtype=np.uint64)
    run = partial(build_transfers, senders=senders, recipients=recipients, amounts=amounts, nonces=nonces)
    records = run()
    return Prepared(run, n, records.copy, n)


def operator_rounds(rounds: int, width: int) -> tuple[graph.Refs, graph.Refs, npt.NDArray[np.uint64]]:
    """Vertices of operators, `width` a round, with three parents each in the round before."""
    rng = np.random.default_rng(SEED)
    refs = np.empty(rounds * width, graph.REF)
    refs["digest"] = rng.integers(0, 256, (len(refs), 32), dtype=np.uint8)
    refs["round"] = 1 + np.arange(len(refs)) // width
    refs["author"] = graph.operator(0) + np.arange(len(refs)) % 1000
    first = rng.integers(0, width, (rounds - 1) * width)
    within = (first[:, None] + [0, 1, 2]) % width
    before = np.repeat(np.arange(rounds - 1) * width, width)[:, None]
    counts = np.repeat([0, 3], [width, (rounds - 1) * width])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    return refs, refs[(before + within).ravel()], offsets


def plain(refs: graph.Refs) -> list[tuple[bytes, int, int]]:
    """(digest, round, author) of each, as the reference takes them."""
    return [(ref["digest"].tobytes(), int(ref["round"]), int(ref["author"])) for ref in refs]


def filled_reference(
    refs: graph.Refs, parents: graph.Refs, offsets: npt.NDArray[np.uint64], count: int
) -> Callable[[], ReferenceDag]:
    """Insert the first `count` vertices into a fresh plain-Python graph."""
    named, listed = plain(refs[:count]), plain(parents[: offsets[count]])

    def insert() -> ReferenceDag:
        reference = ReferenceDag([1] * 4)
        for i, ref in enumerate(named):
            reference.insert(ref, listed[int(offsets[i]) : int(offsets[i + 1])])
        return reference

    return insert


class RollingWindow:
    """A window of `window` vertices that moves on: a lot of 1,000 enters, the oldest 1,000 leave.

    100 operators' vertices a round with three parents each in the round before. The same digests come again
    after a cycle, in higher rounds, so a run may last as long as it likes.
    """

    LOT = 1000
    WIDTH = 100

    def __init__(self, window: int) -> None:
        count = window + 2 * self.LOT
        rng = np.random.default_rng(SEED)
        self.window = window
        self.inserted = 0
        self.cycle = np.empty(count, graph.REF)
        self.cycle["digest"] = rng.integers(0, 256, (count, 32), dtype=np.uint8)
        self.cycle["author"] = graph.operator(0) + np.arange(count) % 1000
        before = (np.arange(count) // self.WIDTH * self.WIDTH - self.WIDTH) % count
        within = (rng.integers(0, self.WIDTH, count)[:, None] + [0, 1, 2]) % self.WIDTH
        self.parents_of = (before[:, None] + within).astype(np.uint32)
        self.offsets = np.arange(0, 3 * self.LOT + 1, 3, dtype=np.uint64)
        limits = graph.Limits(rounds=1 << 14, vertices=1 << 21, blocks=1 << 21)
        self.graph = graph.Graph([1] * 4, bytes(16), limits)
        while self.inserted < window:
            self.prepare()
            self.insert()

    def prepare(self) -> None:
        """Name the vertices of the next lot and their parents."""
        first = self.inserted % len(self.cycle)
        self.refs = self.cycle[first : first + self.LOT]
        self.refs["round"] = 1 + (self.inserted + np.arange(self.LOT)) // self.WIDTH
        self.parents = self.cycle[self.parents_of[first : first + self.LOT]].ravel()
        self.parents["round"] = np.repeat(self.refs["round"] - 1, 3)

    def prepare_singly(self) -> None:
        """The same, as arguments of Graph.insert."""
        self.prepare()
        refs = [
            graph.Ref(Round(round_), author, Digest(digest)) for digest, round_, author in plain(self.refs)
        ]
        self.calls = list(zip(refs, self.parents.reshape(-1, 3), strict=True))

    def insert(self) -> None:
        """Insert the lot in one native call."""
        self.graph.insert_batch(self.refs, self.parents, self.offsets)
        self.inserted += self.LOT

    def insert_singly(self) -> None:
        """Insert the lot one by one through the Python face."""
        for ref, parents in self.calls:
            self.graph.insert(ref, parents)
        self.inserted += self.LOT

    def drop(self) -> None:
        """Drop what is above the window's size."""
        gc_round = Round((self.inserted - self.window) // self.WIDTH)
        self.graph.set_gc_round(gc_round)
        if len(self.graph) != self.window:
            raise AssertionError("not every vertex was inserted")


def plain_insert() -> tuple[Callable[[], ReferenceDag], int]:
    """The baseline of insertion, and how many vertices it inserts."""
    return filled_reference(*operator_rounds(40, 100), 4000), 4000


@case("dag.insert/window=1000000", "ns/vertex", PLAIN_DAG, window=1_000_000)
@case("dag.insert/window=100000", "ns/vertex", PLAIN_DAG, window=100_000)
@case("dag.insert/window=10000", "ns/vertex", PLAIN_DAG, window=10_000)
@case("dag.insert/window=1000", "ns/vertex", PLAIN_DAG, window=1000)
def dag_insert(window: int) -> Prepared:
    """Insert 1,000 vertices in one native call into a window that holds `window`; three parents each."""
    rolling = RollingWindow(window)

    def reset() -> None:
        rolling.drop()
        rolling.prepare()

    return Prepared(rolling.insert, rolling.LOT, *plain_insert(), reset)


@case("dag.insert_one/window=1000000", "ns/vertex", PLAIN_DAG, window=1_000_000)
@case("dag.insert_one/window=100000", "ns/vertex", PLAIN_DAG, window=100_000)
@case("dag.insert_one/window=10000", "ns/vertex", PLAIN_DAG, window=10_000)
@case("dag.insert_one/window=1000", "ns/vertex", PLAIN_DAG, window=1000)
def dag_insert_one(window: int) -> Prepared:
    """The same one by one through the Python face."""
    rolling = RollingWindow(window)

    def reset() -> None:
        rolling.drop()
        rolling.prepare_singly()

    return Prepared(rolling.insert_singly, rolling.LOT, *plain_insert(), reset)


@case("dag.drop/window=1000000", "ns/vertex", PLAIN_DAG, window=1_000_000)
@case("dag.drop/window=1000", "ns/vertex", PLAIN_DAG, window=1000)
def dag_drop(window: int) -> Prepared:
    """Raise gc_round past 1,000 vertices; the baseline is their insertion."""
    rolling = RollingWindow(window)

    def reset() -> None:
        rolling.prepare()
        rolling.insert()

    return Prepared(rolling.drop, rolling.LOT, *plain_insert(), reset)


@case("dag.fill/window=100000", "ns/vertex", PLAIN_DAG, window=100_000)
def dag_fill(window: int) -> Prepared:
    """Fill a fresh window in batches of 1,000: its memory is new, and grows."""
    refs, parents, offsets = operator_rounds(window // 1000, 1000)
    batches = []
    for start in range(0, window, 1000):
        bounds = offsets[start : start + 1001]
        batches.append((refs[start : start + 1000], parents[bounds[0] : bounds[-1]], bounds - bounds[0]))

    def run() -> graph.Graph:
        filled = graph.Graph([1] * 4, bytes(16))
        for batch in batches:
            filled.insert_batch(*batch)
        return filled

    if len(run()) != window:
        raise AssertionError("not every vertex was inserted")
    return Prepared(run, window, *plain_insert())


@case("tips.select/k=8", "ns/selection", PLAIN_DAG, k=8)
def tips_select(k: int) -> Prepared:
    """Uniform selection among the tips of 10,000 vertices; the baseline knows its tips already."""
    refs, parents, offsets = operator_rounds(10, 1000)
    filled = graph.Graph([1] * 4, bytes(16))
    filled.insert_batch(refs, parents, offsets)
    times = 10_000
    tips = sorted(filled_reference(refs, parents, offsets, len(refs))().tips(operators_only=False))
    chosen, counts, _ = filled.index.select_uniform(k, False, SEED, times)
    if not (counts == k).all() or len(np.unique(chosen)) != len(tips):
        raise AssertionError("the tips disagree")
    rng = random.Random(SEED)
    run = partial(filled.index.select_uniform, k, False, SEED, times)
    return Prepared(run, times, lambda: [rng.sample(tips, k) for _ in range(1000)], 1000)
