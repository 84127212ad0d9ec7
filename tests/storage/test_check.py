"""A check of the whole database finds what is wrong and what of that another store can make good."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from storage.lmdb_tools import data_file, flip_all, open_store
from storage.persists import (
    IDENTITY,
    _digest,
    commit_of,
    execute,
    outcome_of,
    persist_of,
    swaps_of,
    vertices_of,
)

from cherrydag._native.store import Store
from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist
from cherrydag.errors import StorageError
from cherrydag.payload import Payload
from cherrydag.refs import AnyRef
from cherrydag.storage import check as module
from cherrydag.storage.check import _Check, check, repair_from
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.memory import MemoryStore
from cherrydag.storage.outcome import Places, outcome_put
from cherrydag.storage.schema import (
    SEAL_KEY,
    TABLES,
    Identity,
    Put,
    Table,
    commit_put,
    encode_swaps,
    index_keys,
    pack_batch,
    swaps_put,
    vertex_put,
)
from cherrydag.storage.stats import stats
from cherrydag.vertex import Vertex

LAST = 30


class Chained:
    """Numbers whose commits link to each other, as `check` wants them."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        for number in range(1, LAST + 1):
            previous = self.commits[-1].digest if self.commits else _digest("origin")
            self.commits.append(replace(commit_of(number), prev_digest=previous))

    def persist(self, number: int) -> Persist:
        return replace(persist_of(number, number), commits=(self.commits[number - 1],))


CHAINED = Chained()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store of 30 numbers, closed."""
    folder = tmp_path_factory.mktemp("filled") / "store"
    with open_store(folder, group_bytes=0) as store:
        for number in range(1, LAST + 1):
            store.write(CHAINED.persist(number))
            if number >= 3:
                execute(store, number)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(filled / "ledger", tmp_path / "store" / "ledger")
    return tmp_path / "store"


def words_of(store: LmdbStore) -> list[str]:
    return [f"{finding.table}: {finding.words}" for finding in check(store).findings]


def put(folder: Path, *puts: Put) -> None:
    """Write past the store."""
    native = Store(folder / "ledger", TABLES, SEAL_KEY, map_bytes=1 << 24, map_bytes_max=1 << 24)
    native.submit(1, pack_batch(puts))
    native.wait()
    assert native.collect()[2] == 0
    native.close()


def test_a_sound_store_has_no_findings(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    with open_store(folder) as store:
        report = check(store, lambda done, total: seen.append((done, total)))
        assert report.is_sound
        assert report.findings == ()
        assert report.omitted == 0
        assert (report.vertices, report.commits, report.swaps, report.outcomes) == (90, 30, 4, 28)
        assert (report.damaged_vertices, report.damaged_outcomes) == ((), ())
    assert seen == sorted(seen)
    assert seen[-1] == (152, 152)
    assert {total for _, total in seen} == {152}


def test_an_empty_store_is_sound(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert check(store).is_sound


def test_what_waits_is_checked_too(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.write(CHAINED.persist(1))
        assert check(store).vertices == 3


def test_a_store_that_failed_is_checked_as_far_as_it_is_durable(tmp_path: Path) -> None:
    with open_store(tmp_path, map_bytes=1 << 18, map_bytes_max=1 << 18) as store:
        with pytest.raises(Exception, match="raise map_bytes_max"):
            for number in range(1, LAST + 1):
                store.write(CHAINED.persist(number))
                store.sync()
        report = check(store)
        assert report.is_sound
        assert report.commits == store.durable


VERTEX = vertices_of(25)[0]


@pytest.mark.parametrize(
    ("content", "offset", "table", "words"),
    [
        (VERTEX.header, 40, "vertices", "vertex 72 is damaged: round 24"),
        (commit_of(29).encoding[:20], 9, "commits", "table commits: the value of key 000000000000001d"),
        (encode_swaps(swaps_of(28).swaps), 4, "swaps", "table swaps: the value of key 000000000000001c"),
        (index_keys(72, VERTEX.ref)[0][1], 0, "vertex_digest", "vertex 72 is missing"),
        (index_keys(72, VERTEX.ref)[1][1], 3, "vertex_round", "vertex 72 is missing"),
        (index_keys(74, vertices_of(25)[2].ref)[2][1], 1, "vertex_author", "vertex 74 is missing"),
        (index_keys(72, VERTEX.ref)[1][1], 20, "vertex_round", "vertex 72 is damaged"),
    ],
    ids=["vertex", "commit", "swap table", "by digest", "by round", "by author", "seal of a key"],
)
def test_a_flipped_bit_is_named_with_its_table(
    folder: Path, content: bytes, offset: int, table: str, words: str
) -> None:
    flip_all(data_file(folder), content, offset)
    with open_store(folder) as store:
        found = words_of(store)
        assert any(line.startswith(f"{table}: ") and words in line for line in found), found


def test_damage_that_can_be_made_good_is_told_apart(folder: Path) -> None:
    flip_all(data_file(folder), VERTEX.header, 40)
    flip_all(data_file(folder), bytes(vertices_of(22)[0].payload.octets), 1000)
    head = Places.of([63, 64, 65], vertices_of(22)).rows.tobytes()
    flip_all(data_file(folder), head, 3)
    with open_store(folder) as store:
        report = check(store)
        assert report.damaged_vertices == (vertices_of(22)[0].ref, VERTEX.ref)
        assert report.damaged_outcomes == (22,)
        assert len(report.findings) == 3
        assert not report.is_sound


@pytest.mark.parametrize("offset", [40, -30], ids=["header", "reference"])
def test_a_damaged_vertex_is_one_finding(folder: Path, offset: int) -> None:
    vertex = vertices_of(25)[2]
    flip_all(data_file(folder), vertex.header, offset)
    with open_store(folder) as store:
        (finding,) = check(store).findings
        assert finding.ref == vertex.ref


def test_a_vertex_damaged_from_its_beginning_is_named_by_its_commit(folder: Path) -> None:
    flip_all(data_file(folder), VERTEX.header, -30)
    flip_all(data_file(folder), VERTEX.header, -69, 7)  # the tag of the reference
    with open_store(folder) as store:
        report = check(store)
        assert report.damaged_vertices == (VERTEX.ref,)
        assert repair_from(store, source(), report.damaged_vertices).repaired == (VERTEX.ref,)
        assert check(store).is_sound


def over(made: Put, number: int) -> Put:
    """A value in the place of the one that a number has."""
    return made._replace(key=number.to_bytes(8, "big"), append=False)


def other_payload(vertex: Vertex) -> Vertex:
    """The same header with other transactions."""
    payload = vertex.payload
    records = payload.records.copy()
    records["fee"] += 1
    return replace(vertex, payload=Payload(records, payload.bodies, payload.body_offsets, payload.root))


def placed(number: int, seqs: list[int]) -> Put:
    """The outcome of a number with other places."""
    places = Places.of(seqs, vertices_of(number)[: len(seqs)])
    return outcome_put(outcome_of(number), places, append=False)


def tenth(**fields: object) -> Put:
    """Commit 10 with other fields."""
    return over(commit_put(replace(CHAINED.commits[9], **fields)), 10)


def refs_of(*vertices: Vertex) -> tuple[AnyRef, ...]:
    return tuple(vertex.ref for vertex in vertices)


TWICE = (*vertices_of(9)[:1], *vertices_of(10))

FAULTS = {
    "vertex_round: 91 entries, expected 90": Put(Table.VERTEX_ROUND, bytes(20)),
    "vertex_author: 61 entries, but 60 vertices of validators": Put(Table.VERTEX_AUTHOR, bytes(14)),
    "vertex_digest: vertex 3 is missing": vertex_put(3, replace(vertices_of(2)[0], seq=99), append=False),
    "vertices: vertex 72 has another payload": vertex_put(72, other_payload(VERTEX), append=False),
    "commits: commit 10 does not link to commit 9": tenth(prev_digest=bytes(32)),
    "commits: commit 10 is of epoch 8": tenth(epoch=8),
    "commits: commit 10 is of an earlier time": tenth(timestamp_ms=8),
    "commits: the commit stored as 10 has index 9": tenth(index=9),
    "commits: commit 10 names a vertex that is missing": tenth(vertices=refs_of(*vertices_of(31))),
    "commits: commit 10 names a vertex of an earlier commit": tenth(vertices=refs_of(*TWICE)),
    "results: the outcome of commit 10 is of 3 vertices, not 4": tenth(vertices=refs_of(*TWICE)),
    "results: the outcome of commit 10 does not fit vertex 27": placed(10, [28, 27, 29]),
    "swaps: a swap table of commit 35, which is missing": swaps_put(swaps_of(28)._replace(commit_index=35)),
    "results: 29 entries, expected 31": placed(33, [1, 2, 3]),
}
AT_A_START = ("vertex_round: 91", "results: 29")
"""Found when the store is opened already."""


@pytest.mark.parametrize("words", FAULTS)
def test_what_is_whole_and_wrong_is_found(folder: Path, words: str) -> None:
    put(folder, FAULTS[words])
    if words.startswith(AT_A_START):
        with pytest.raises(StorageError, match=f"table {words}"):
            open_store(folder)
        return
    with open_store(folder) as store:
        found = words_of(store)
        assert any(words in line for line in found), found


def test_counts_that_go_wrong_while_the_store_is_open_are_found(folder: Path) -> None:
    with open_store(folder) as store:
        store._native.submit(0, pack_batch([FAULTS["vertex_round: 91 entries, expected 90"]]))
        store._native.wait()
        assert (
            _Check(store, lambda done, total: None).run().findings[0].words.startswith("table vertex_round")
        )


def test_a_database_of_another_chain_is_found(folder: Path) -> None:
    with open_store(folder) as store:
        store.identity = Identity(IDENTITY.genesis_digest, 8)
        assert any(line.startswith("meta: the database is of") for line in words_of(store))


def test_findings_are_counted_beyond_the_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (5, 6, 7):
        flip_all(data_file(folder), vertices_of(number)[0].header, 40)
    for bound, findings in ((2, 2), (3, 3), (4, 3)):
        monkeypatch.setattr(module, "FINDINGS_MAX", bound)
        with open_store(folder) as store:
            report = check(store)
        assert (len(report.findings), report.omitted) == (findings, 3 - findings)


# Repairs


def source() -> MemoryStore:
    store = MemoryStore()
    for number in range(1, LAST + 1):
        store.write(persist_of(number, number))
    return store


def damage(folder: Path) -> tuple[AnyRef, ...]:
    for number in (5, 22):
        flip_all(data_file(folder), vertices_of(number)[0].header, 40)
    return vertices_of(5)[0].ref, vertices_of(22)[0].ref


def test_damaged_vertices_are_taken_from_another_store(folder: Path) -> None:
    damaged = damage(folder)
    with open_store(folder) as store:
        assert check(store).damaged_vertices == damaged
        assert repair_from(store, source()) == (damaged, ())
        assert repair_from(store, source(), damaged) == ((), ())
        assert check(store).is_sound
    with open_store(folder, preflight=True) as store:
        assert check(store).is_sound
        assert store.vertices(damaged) == [vertices_of(5)[0], vertices_of(22)[0]]


def test_damaged_vertices_are_taken_from_another_folder(folder: Path, filled: Path, tmp_path: Path) -> None:
    damaged = damage(folder)
    shutil.copytree(filled / "ledger", tmp_path / "other" / "ledger")
    flip_all(data_file(tmp_path / "other"), vertices_of(22)[0].header, 41)
    with open_store(folder) as store, open_store(tmp_path / "other") as other:
        assert repair_from(store, other, damaged) == (damaged[:1], damaged[1:])
        assert check(store).damaged_vertices == damaged[1:]


class Liar(MemoryStore):
    """Gives one vertex, whatever is asked for."""

    __slots__ = ("_vertex",)

    def __init__(self, vertex: Vertex) -> None:
        super().__init__()
        self._vertex = vertex

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        return [self._vertex]


@pytest.mark.parametrize("lie", [vertices_of(6)[0], other_payload(vertices_of(22)[0])])
def test_what_another_store_says_is_proved(folder: Path, lie: Vertex) -> None:
    damaged = damage(folder)
    with open_store(folder) as store:
        assert repair_from(store, Liar(lie), damaged[1:]) == ((), damaged[1:])
        assert repair_from(store, MemoryStore(), damaged) == ((), damaged)
        assert check(store).damaged_vertices == damaged


def test_damaged_outcomes_are_written_anew_after_execution(folder: Path) -> None:
    flip_all(data_file(folder), Places.of([63, 64, 65], vertices_of(22)).rows.tobytes(), 3)
    with open_store(folder) as store:
        for index in check(store).damaged_outcomes:
            execute(store, index)
        assert check(store).is_sound


# Sizes


def test_sizes_are_told_by_table(folder: Path) -> None:
    with open_store(folder) as store:
        found = stats(store)
        tables = {table.name: table for table in found.tables}
        assert [table.entries for table in found.tables] == [1, 90, 30, 4, 90, 90, 60, 28]
        assert list(tables) == list(TABLES)
        assert tables["vertices"].bytes > sum(len(v.payload.octets) for n in (11, 22) for v in vertices_of(n))
        assert found.file_bytes == data_file(folder).stat().st_size
        in_use = sum(table.bytes for table in found.tables) // found.page_bytes
        its_own = 2 + 2  # the library's: two heads, the names of the tables, the list of free pages
        assert found.pages == in_use + found.free_pages + its_own
        assert found.fragmentation_permille == 1000 * found.free_pages // found.pages
        assert found.free_pages > 0
