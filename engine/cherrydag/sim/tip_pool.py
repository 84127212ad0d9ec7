"""The tip pool under load: operators select parents and see each other late; validators go round by round.

The graph and the selector are the production ones. One graph stands for what everybody sees: a vertex enters
it `delay_ms` after it was issued, so whoever selects at time t sees the state of t - delay.

Expected pool (S. Popov, "The Tangle", 2018, section 3): of the L tips that are seen, lambda * h have been
approved by vertices that are still hidden, and each vertex hits one free tip on average, so that
k * (L - lambda * h) / L = 1 and L0 = k * lambda * h / (k - 1). Where V validators' tips lie among them, one
choice hits an operator's with chance L / (L + V), which gives L = L0 + V / (k - 1).
"""

from collections import deque
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag.consensus.committer import WAVE
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.dag.graph import REF, Graph, Handle, Limits, Outcome, Ref, Refs, operator
from cherrydag.dag.tips import SELECT_MAX, SELECT_MIN, TipSelector
from cherrydag.errors import ConfigError, invariant
from cherrydag.params import COMMITTEE_MAX, TIP_WINDOW, TIPS_MAX
from cherrydag.primitives import Digest, Round

Numbers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

_OPERATOR: Final = operator(0)
"""Authors from here on are operators."""

_VERTICES_MIN: Final = 50
"""Fewer would tell nothing."""

_RANGES: Final = {
    "rate": (1, 1_000_000),
    "delay_ms": (1, 60_000),
    "parents": (SELECT_MIN, SELECT_MAX),
    "seconds": (1, 86_400),
    "issuers": (1, 65_536),
    "validators": (1, COMMITTEE_MAX),
    "round_ms": (1, 60_000),
    "listings": (0, TIPS_MAX // SELECT_MAX),
    "flood": (0, 1000),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One run. Raises ConfigError for a value out of range.

    rate: operators' vertices a second, a Poisson process. delay_ms: until a vertex is visible to others.
    parents: k, tips that each vertex selects. seconds: of virtual time; the first quarter warms up. seed.
    chained: parents[0] is the issuer's own last vertex, and only k - 1 are selected. issuers: who issues,
    with equal chances. flood: permille of the vertices that come from issuer 0. bonds: of the issuers, in
    turn. round_ms: of a validators' round, which is never shorter than the delay. listings: fair selections,
    each of 8 operators' tips, that validators list in a round; 0 leaves the pool to the operators.
    """

    rate: int
    delay_ms: int
    parents: int
    seconds: int = 60
    seed: int = 1
    chained: bool = False
    issuers: int = 100
    flood: int = 0
    bonds: tuple[int, ...] = (1,)
    validators: int = 4
    round_ms: int = 100
    listings: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high = _RANGES.get(item.name, (0, 0))
            value = getattr(self, item.name)
            if high and not low <= value <= high:
                raise ConfigError(f"{item.name}: expected {low}..{high}, got {value}")
        if not self.bonds or min(self.bonds) < 1:
            raise ConfigError(f"bonds: expected numbers from 1, got {self.bonds}")
        if self.chained and self.parents == SELECT_MIN:
            raise ConfigError(
                f"chained: expected parents above {SELECT_MIN}, so that {SELECT_MIN} are selected"
            )
        if self.rate * self.seconds < _VERTICES_MIN:
            raise ConfigError(
                f"rate * seconds: expected at least {_VERTICES_MIN}, got {self.rate * self.seconds}"
            )
        if self.seconds * 1000 * 3 < 8 * TIP_WINDOW * self.interval_ms:
            needed_s = -(-8 * TIP_WINDOW * self.interval_ms // 3000)
            raise ConfigError(f"seconds: expected at least {needed_s} at this delay, got {self.seconds}")

    @property
    def interval_ms(self) -> int:
        """Between two rounds: validators wait for each other's vertices."""
        return max(self.round_ms, self.delay_ms)

    @property
    def selected(self) -> int:
        """How many parents are chosen by tip selection."""
        return self.parents - self.chained

    def expected(self, validators_tips: float = 0) -> float:
        """L0, or with that many validators' tips among the choices; for the parents that are selected."""
        hidden = self.rate * self.delay_ms / 1000
        return hidden + (hidden + validators_tips) / (self.selected - 1)

    def bond_of(self, issuer: int) -> int:
        """An issuer's bond."""
        return self.bonds[issuer % len(self.bonds)]


class Share(NamedTuple):
    """Issuers of one bond, the flooder apart: their parts of all bonds, vertices and places in the lists."""

    bond: int
    is_flooder: bool
    issuers: int
    of_bond: float
    of_issued: float
    of_listed: float


class PoolReport(NamedTuple):
    """What came of a run, after the warm-up.

    mean, p99, largest: operators' tips in the pool, as each arrival finds them (Poisson arrivals see time
    averages). slope: of the pool over time, in vertices a second. validators_tips: mean number of validators'
    vertices among which operators choose as well. unapproved, lazy, committed: shares of the vertices that
    were visible for at least the tip window before the end: without any child, excluded as tips for their
    age, in a leader's history. lag_rounds: mean distance of a new vertex's anchor from the validators' round.
    issued, selected, listed: per issuer; vertices, choices as somebody's parent, places in validators' lists.
    """

    mean: float
    p99: float
    largest: int
    slope: float
    validators_tips: float
    unapproved: float
    lazy: float
    committed: float
    lag_rounds: float
    vertices: int
    issued: Numbers
    selected: Numbers
    listed: Numbers

    def shares(self, setting: Setting) -> list[Share]:
        """What the fair rule gave, by bond; the flooder first, if there is one."""
        bonds = np.array([setting.bond_of(issuer) for issuer in range(setting.issuers)])
        is_honest = (np.arange(setting.issuers) > 0) | (setting.flood == 0)
        found = []
        for honest, bond in sorted(set(zip(is_honest.tolist(), bonds.tolist(), strict=True))):
            members = (is_honest == honest) & (bonds == bond)
            parts = (float(x[members].sum() / max(1, x.sum())) for x in (bonds, self.issued, self.listed))
            found.append(Share(bond, not honest, int(members.sum()), *parts))
        return found


class _Waiting(NamedTuple):
    """A vertex that is issued and not yet visible. `parents` are rows of the book."""

    visible_us: int
    row: int
    parents: Numbers


class _Book:
    """What the model remembers of each vertex, by its row: operators' and validators' in order of issue."""

    def __init__(self, rows: int) -> None:
        self.refs: Refs = np.zeros(rows, REF)
        self.handles = np.zeros(rows, np.uint64)
        self.visible_us = np.zeros(rows, np.int64)
        self.approved: Flags = np.zeros(rows, np.bool_)
        self.lazy: Flags = np.zeros(rows, np.bool_)
        self.committed: Flags = np.zeros(rows, np.bool_)
        self.row_of: dict[int, int] = {}
        self.count = 0

    def add(self, round_: int, author: int) -> int:
        """A new row. Digests are numbers: the graph's table hashes them anyway."""
        row = self.count
        self.count += 1
        digest = np.frombuffer(row.to_bytes(32, "little"), np.uint8)
        self.refs[row] = (digest, round_, author)
        return row

    def ref(self, row: int) -> Ref:
        """The row's reference."""
        digest, round_, author = self.refs[row]
        return Ref(Round(int(round_)), int(author), Digest(digest.tobytes()))

    def rows(self, handles: npt.NDArray[np.uint64]) -> Numbers:
        """The rows of some handles."""
        return np.array([self.row_of[handle] for handle in handles.tolist()], np.int64)


class TipPool:
    """One run of a setting: `run` once."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        chance = np.random.Generator(np.random.PCG64(setting.seed))
        self._arrivals_us = _poisson(chance, setting.rate, setting.seconds)
        self._issuers = _authors(chance, setting, len(self._arrivals_us))
        rounds = setting.seconds * 1000 // setting.interval_ms + 2
        self._book = _Book(len(self._arrivals_us) + rounds * setting.validators)
        vertices = max(1 << 16, 1 << (len(self._book.refs) - 1).bit_length())
        limits = Limits(1024, vertices, 2 * vertices, setting.issuers)
        self.graph = Graph([1] * setting.validators, setting.seed.to_bytes(16, "little"), limits)
        self.selector = TipSelector(self.graph, int(chance.integers(1 << 63)))
        bonds = [setting.bond_of(issuer) for issuer in range(setting.issuers)]
        for issuer, bond in enumerate(bonds):
            self.selector.set_issuer(issuer, bond, 2**32 - 1)
        self._tip_cost = max(1, sum(bonds) // len(bonds))
        self.tips: tuple[dict[int, None], dict[int, None]] = ({}, {})
        """Rows of validators' and of operators' tips, kept apart from the graph's own count."""
        self._waiting: deque[_Waiting] = deque()
        self._round = 0
        self._last_round: list[int] = []
        self._own: dict[int, int] = {}
        self._lags: list[int] = []
        self._issued, self._selected, self._listed = (np.zeros(setting.issuers, np.int64) for _ in range(3))

    def run(self) -> PoolReport:
        """Let every arrival happen, and sum up."""
        pools = np.zeros((len(self._arrivals_us), 2), np.int64)
        arrivals = zip(self._arrivals_us.tolist(), self._issuers.tolist(), strict=True)
        for i, (now_us, issuer) in enumerate(arrivals):
            self._advance(now_us)
            pools[i] = len(self.tips[0]), len(self.tips[1])
            self._issue(now_us, issuer)
        return self._report(pools)

    def _advance(self, now_us: int) -> None:
        """Let vertices become visible and rounds begin, in order of time, the vertices first."""
        interval_us = self.setting.interval_ms * 1000
        while True:
            round_us = (self._round + 1) * interval_us
            if self._waiting and self._waiting[0].visible_us <= min(now_us, round_us):
                self._show(self._waiting.popleft())
            elif round_us <= now_us:
                self._begin_round(round_us)
            else:
                return

    def _issue(self, now_us: int, issuer: int) -> None:
        """A vertex over tips of either kind."""
        parents = self._book.rows(self.selector.uniform(self.setting.selected))
        authors = self._book.refs["author"][parents]
        np.add.at(self._selected, authors[authors >= _OPERATOR] - _OPERATOR, 1)
        own = self._own.get(issuer)
        if self.setting.chained and own is not None and own not in parents:
            parents = np.append(own, parents)
        anchor_round = int(self._book.refs["round"][parents].max(initial=1))
        row = self._book.add(anchor_round, operator(issuer))
        self._lags.append(self._round - anchor_round)
        self._issued[issuer] += 1
        self._own[issuer] = row
        self._wait(now_us, row, parents)

    def _begin_round(self, now_us: int) -> None:
        """Each validator links all of the round before; all list the same tips, the worst for the pool."""
        self._round += 1
        self._exclude_lazy()
        ancestors = np.array(self._last_round + self._list_tips(), np.int64)
        self._last_round = [self._book.add(self._round, author) for author in range(self.setting.validators)]
        for row in self._last_round:
            self._wait(now_us, row, ancestors)

    def _list_tips(self) -> list[int]:
        """Operators' tips for a round's vertices, by the fair rule."""
        found: dict[int, None] = {}
        for _ in range(self.setting.listings):
            chosen = self.selector.fair(SELECT_MAX, self._tip_cost)
            found.update(dict.fromkeys(self._book.rows(chosen).tolist()))
        rows = [row for row in found if self._book.refs["round"][row] < self._round]
        np.add.at(self._listed, self._book.refs["author"][rows] - _OPERATOR, 1)
        return rows

    def _exclude_lazy(self) -> None:
        tip_round = Round(max(0, self._round - TIP_WINDOW))
        self.selector.set_tip_round(tip_round)
        for tips in self.tips:
            for row in [row for row in tips if self._book.refs["round"][row] < tip_round]:
                del tips[row]
                self._book.lazy[row] = True

    def _wait(self, now_us: int, row: int, parents: Numbers) -> None:
        visible_us = now_us + self.setting.delay_ms * 1000
        self._book.visible_us[row] = visible_us
        self._waiting.append(_Waiting(visible_us, row, parents))

    def _show(self, waiting: _Waiting) -> None:
        """A vertex enters the graph."""
        book, row = self._book, waiting.row
        ref = book.ref(row)
        inserted = self.graph.insert(ref, book.refs[waiting.parents])
        invariant(inserted.outcome is Outcome.INSERTED, "a vertex enters", ref=ref, outcome=inserted.outcome)
        book.handles[row] = inserted.handle
        book.row_of[inserted.handle] = row
        for parent in waiting.parents.tolist():
            book.approved[parent] = True
            for tips in self.tips:
                tips.pop(parent, None)
        if ref.round >= self._round - TIP_WINDOW:
            self.tips[ref.author >= _OPERATOR][row] = None
        if ref.author == self.setting.validators - 1:
            self._commit(ref.round - WAVE + 1)

    def _commit(self, round_: int) -> None:
        """The leader of this round is decided: all of round + 2 are there, and link everything."""
        if round_ < 1:
            return
        leader = self.graph.slot(Round(round_), round_ % self.setting.validators)[0]
        ordered = self.graph.order(Handle(int(leader)), bytes(32))
        self.graph.mark_committed(ordered)
        self._book.committed[self._book.rows(ordered)] = True
        self.graph.set_gc_round(ChainParams().gc_round(Round(round_)))

    def _report(self, pools: Numbers) -> PoolReport:
        start, book = len(pools) // 4, self._book
        seconds = self._arrivals_us[start:] / 1e6
        pool = pools[start:, 1]
        matured_us = self._arrivals_us[-1] - TIP_WINDOW * self.setting.interval_ms * 1000
        settled = (book.refs["author"] >= _OPERATOR) & (book.visible_us > self._arrivals_us[start])
        settled &= book.visible_us <= matured_us
        return PoolReport(
            mean=float(pool.mean()),
            p99=float(np.quantile(pool, 0.99)),
            largest=int(pool.max()),
            slope=float(np.polyfit(seconds, pool, 1)[0]),
            validators_tips=float(pools[start:, 0].mean()),
            unapproved=_share(~book.approved, settled),
            lazy=_share(book.lazy, settled),
            committed=_share(book.committed, settled),
            lag_rounds=float(np.mean(self._lags[start:])),
            vertices=int(self._issued.sum()),
            issued=self._issued,
            selected=self._selected,
            listed=self._listed,
        )


def _share(flags: Flags, among: Flags) -> float:
    return float((flags & among).sum() / max(1, among.sum()))


def _poisson(chance: np.random.Generator, rate: int, seconds: int) -> Numbers:
    """Times of arrival within the run, in microseconds, rising."""
    count = chance.poisson(rate * seconds)
    return np.sort(chance.integers(0, seconds * 1_000_000, count))


def _authors(chance: np.random.Generator, setting: Setting, count: int) -> Numbers:
    """Who issues each: issuer 0 for the flooded part, else anybody."""
    anybody = chance.integers(0, setting.issuers, count)
    return np.where(chance.integers(0, 1000, count) < setting.flood, 0, anybody)
