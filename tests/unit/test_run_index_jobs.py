"""The sorted-run index: what its jobs do to it, whenever they end."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import fill, small_disk
from storage.run_tools import NAME, SMALL, add, key, seal, work

from cherrydag.errors import NoRoom, Overloaded, ShapeError, StorageError
from cherrydag.storage.run_index import LIMIT_MAX, RunIndex, RunOptions

HOT = b"hot account 0001"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[RunIndex]:
    made = RunIndex(tmp_path / "index", NAME, options=SMALL)
    yield made
    made.close()


def test_memory_is_written_when_it_is_enough_and_not_before(index: RunIndex) -> None:
    add(index, [(HOT, place) for place in range(63)])
    assert index.job() is None
    add(index, [(HOT, 63)])
    job = index.job()
    assert job is not None
    assert not job.is_merge
    assert index.job() is index.seal() is None
    job.run()
    assert index.runs == ()
    assert index.adopt(job)
    assert index.runs == (job.name,)
    assert index.find(HOT, limit=99) == list(range(64))
    assert index.stats()[:3] == (64, 0, 1)


def test_a_job_ends_once(index: RunIndex) -> None:
    add(index, [(HOT, 1)])
    job = index.seal()
    assert job is not None
    job.run()
    with pytest.raises(ShapeError, match="has run"):
        job.run()
    assert index.adopt(job)
    with pytest.raises(ShapeError, match="not under way"):
        index.adopt(job)


def test_a_job_that_finds_the_disk_full_runs_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        index = RunIndex(disk / "index", NAME)
        add(index, [(key(number), number) for number in range(10_000)])
        job = index.seal()
        assert job is not None
        ballast = fill(disk, leaving=100_000)
        for _ in range(2):
            with pytest.raises(NoRoom, match="No space left"):
                job.run()
            assert list((disk / "index").iterdir()) == []
        ballast.unlink()
        job.run()
        assert index.adopt(job)
        assert index.find(key(9_999)) == [9_999]
        index.close()


def test_a_job_that_is_given_back_unrun_frees_its_entries(index: RunIndex) -> None:
    add(index, [(HOT, 1)])
    job = index.seal()
    assert job is not None
    assert not index.adopt(job)
    with pytest.raises(ShapeError, match="given back"):
        job.run()
    assert index.find(HOT) == [1]
    assert seal(index) != job.name
    assert index.find(HOT) == [1]


def test_a_running_job_cannot_be_adopted(index: RunIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    add(index, [(HOT, 1)])
    job = index.seal()
    assert job is not None
    seen: list[str] = []

    def sync(_: Path) -> None:
        with pytest.raises(ShapeError, match="still running"):
            index.adopt(job)
        seen.append("running")

    monkeypatch.setattr("cherrydag.storage.run_file.sync_folder", sync)
    thread = threading.Thread(target=job.run)
    thread.start()
    thread.join()
    assert seen == ["running"]
    assert index.adopt(job)


def test_answers_are_right_while_jobs_run_in_another_thread(index: RunIndex) -> None:
    """Each job runs while its owner adds and asks; what it wrote comes in between two questions."""
    place, merges = 0, 0
    while merges < 3:
        add(index, [(HOT, place), *((key(number), place + number) for number in range(1, 80))])
        place += 80
        while (job := index.job()) is not None:
            thread = threading.Thread(target=job.run)
            thread.start()
            add(index, [(HOT, place)])
            place += 80
            assert index.page(HOT, after=-1, limit=LIMIT_MAX) == list(range(0, place, 80))
            thread.join()
            merges += job.is_merge
            assert index.adopt(job)
            assert index.page(HOT, after=-1, limit=LIMIT_MAX) == list(range(0, place, 80))


def test_a_manifest_never_has_a_hole(index: RunIndex) -> None:
    """Two flushes are under way and the later one ends first: a crash now must not lose the earlier alone."""
    add(index, [(HOT, 1)])
    early = index.seal()
    add(index, [(HOT, 2)])
    late = index.seal()
    assert early is not None
    assert late is not None
    late.run()
    assert index.adopt(late)
    assert index.runs == ()
    assert index.find(HOT) == [1, 2]
    assert not index.adopt(early)
    again = index.job()
    assert again is not None
    again.run()
    assert index.adopt(again)
    assert index.runs == (again.name, late.name)
    assert index.find(HOT) == [1, 2]


def test_seal_is_refused_before_runs_are_without_bound(
    index: RunIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cherrydag.storage.run_index.UNMERGED_MAX", 3)
    for place in range(3):
        add(index, [(HOT, place)])
        seal(index)
    add(index, [(HOT, 3)])
    with pytest.raises(Overloaded, match="3 runs"):
        index.seal()
    work(index)
    seal(index)
    assert index.find(HOT) == [0, 1, 2, 3]


def test_above_runs_max_merging_comes_first(tmp_path: Path) -> None:
    options = RunOptions(flush_entries=4, memory_entries_max=64, merge_ratio=4, runs_max=2)
    index = RunIndex(tmp_path, NAME, options=options)
    for start in (0, 4, 8):
        add(index, [(HOT, place) for place in range(start, start + 4)])
        seal(index)
    add(index, [(HOT, place) for place in range(12, 16)])
    job = index.job()
    assert job is not None
    assert job.is_merge
    assert index.job() is None
    job.run()
    index.adopt(job)
    assert index.stats().runs == 1
    flush = index.job()
    assert flush is not None
    assert not flush.is_merge


def test_discard_spares_what_is_live_kept_or_in_the_making(index: RunIndex, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for start in (0, 10, 20):
        add(index, [(HOT, start + i) for i in range(10)])
        seal(index)
    manifest = index.runs
    merges = work(index)
    assert merges
    add(index, [(HOT, 99)])
    flush = index.seal()
    assert flush is not None
    flush.run()
    for stranger in ("other-00000001.run", "tx-1.run", "tx-00000001.run.bak", "tx-00000001.run.new"):
        (folder / stranger).touch()
    assert index.discard(keep=manifest[1:]) == [manifest[0], "tx-00000001.run.new"]
    assert index.discard(keep=manifest[1:]) == []
    assert index.adopt(flush)
    assert index.discard() == list(manifest[1:])
    left = sorted(path.name for path in folder.iterdir())
    assert left == sorted([*index.runs, "other-00000001.run", "tx-1.run", "tx-00000001.run.bak"])
    assert index.find(HOT, limit=99) == [*range(30), 99]


def test_reopening_finds_what_the_manifest_names(tmp_path: Path) -> None:
    index = RunIndex(tmp_path, NAME, options=SMALL)
    add(index, [(HOT, 1), (key(1), 2)])
    seal(index)
    add(index, [(HOT, 3)])
    first = index.runs
    seal(index)
    second = index.runs
    index.close()
    with_all = RunIndex(tmp_path, NAME, second)
    assert (with_all.find(HOT), with_all.last_place, with_all.runs) == ([1, 3], 3, second)
    older = RunIndex(tmp_path, NAME, first)
    assert (older.find(HOT), older.last_place) == ([1], 2)
    add(older, [(HOT, 3), (HOT, 4)])
    assert seal(older) not in second
    assert older.find(HOT) == [1, 3, 4]
    with pytest.raises(StorageError, match="overlap in time"):
        RunIndex(tmp_path, NAME, second[::-1])
    with pytest.raises(StorageError, match="overlap in time"):
        RunIndex(tmp_path, NAME, [first[0], first[0]])
