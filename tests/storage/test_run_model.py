"""An index against a dict of sorted lists, whatever is added, written, merged, lost and opened again."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from reference.run_reference import Entry, ReferenceIndex
from storage.run_tools import NAME, add, key

from cherrydag.errors import Overloaded
from cherrydag.storage.run_index import Job, RunIndex, RunOptions, RunView

OPTIONS = RunOptions(flush_entries=40, memory_entries_max=1200, merge_ratio=2, runs_max=5)
KEYS = [key(number) for number in range(1, 13)] + [bytes(16), b"\xff" * 16]
LIMITS = st.sampled_from([1, 2, 169, 170, 171, 5000])


class RunIndexModel(RuleBasedStateMachine):
    """`durable` is what the last manifest stands for: a crash goes back to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.index = RunIndex(self.folder, NAME, options=OPTIONS)
        self.entries: list[Entry] = []
        self.reference = ReferenceIndex()
        self.manifest: tuple[str, ...] = ()
        self.durable = 0
        self.waiting: list[Job] = []
        self.ended: list[Job] = []
        self.views: list[tuple[RunView, int]] = []

    def teardown(self) -> None:
        self.index.close()
        shutil.rmtree(self.folder)

    @rule(
        rows=st.lists(st.tuples(st.integers(0, 13), st.integers(0, 3)), max_size=30, unique=True),
        hot=st.sampled_from([0, 0, 1, 60, 170, 400]),
    )
    def add(self, rows: list[tuple[int, int]], hot: int) -> None:
        start = self.entries[-1][1] + 1 if self.entries else 0
        added = [(KEYS[number], start + place) for number, place in rows]
        added += [(KEYS[-1], start + 4 + i) for i in range(hot)]
        try:
            add(self.index, added[::-1])
        except Overloaded:
            held = self.index.stats().memory_entries
            assert held + len(added) > OPTIONS.memory_entries_max
            return
        self.entries += sorted(added, key=lambda entry: entry[1])
        self.reference.add(added)

    @rule(seals=st.booleans())
    def begin(self, seals: bool) -> None:
        job = self.index.seal() if seals else self.index.job()
        if job is not None:
            self.waiting.append(job)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        job = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        job.run()
        self.ended.append(job)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def adopt(self, data: st.DataObject) -> None:
        assert self.index.adopt(self.ended.pop(data.draw(st.integers(0, len(self.ended) - 1))))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        job = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        assert not self.index.adopt(job)

    @rule()
    def save_manifest(self) -> None:
        self.manifest = self.index.runs
        sizes = [RunIndex(self.folder, NAME, [name]).stats().entries for name in self.manifest]
        self.durable = sum(sizes)

    @rule()
    def discard(self) -> None:
        self.index.discard(keep=self.manifest)

    @rule()
    def take_view(self) -> None:
        self.views = [*self.views[-1:], (self.index.view(), len(self.entries))]

    @rule(is_clean=st.booleans())
    def reopen(self, is_clean: bool) -> None:
        if is_clean:
            self.index.close()
        self.index = RunIndex(self.folder, NAME, self.manifest, OPTIONS)
        del self.entries[self.durable :]
        self.reference = ReferenceIndex(self.entries)
        self.waiting, self.ended, self.views = [], [], []
        assert self.index.last_place == (self.entries[-1][1] if self.entries else None)

    @rule(wanted=st.sampled_from(KEYS), limit=LIMITS, data=st.data())
    def ask(self, wanted: bytes, limit: int, data: st.DataObject) -> None:
        top = self.entries[-1][1] + 2 if self.entries else 2
        cursor = data.draw(st.none() | st.integers(-1, top))
        assert self.index.find(wanted, limit) == self.reference.find(wanted, limit)
        before = self.reference.page(wanted, cursor, None, limit)
        assert self.index.page(wanted, before=cursor, limit=limit) == before
        if cursor is not None:
            after = self.reference.page(wanted, None, cursor, limit)
            assert self.index.page(wanted, after=cursor, limit=limit) == after

    @invariant()
    def all_is_there(self) -> None:
        stats = self.index.stats()
        assert stats.entries == len(self.entries)
        assert stats.memory_entries <= OPTIONS.memory_entries_max
        for wanted in (KEYS[0], KEYS[-1]):
            assert self.index.find(wanted) == self.reference.find(wanted, 16)
        for view, count in self.views:
            places = [place for name, place in self.entries[:count] if name == KEYS[-1]]
            assert view.page(KEYS[-1], limit=20) == places[::-1][:20]


RunIndexModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]
)
TestRunIndexModel = RunIndexModel.TestCase
