"""Entries for the tests of sorted runs, and work on an index."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from reference.run_reference import Entry

from cherrydag.storage.run_index import Job, RunIndex, RunOptions

NAME = "tx"
SMALL = RunOptions(flush_entries=64, memory_entries_max=4096, merge_ratio=3, runs_max=6)


def key(number: int) -> bytes:
    """A key; neighbours differ in their first bytes and in their last."""
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") + number.to_bytes(8, "big")


def add(index: RunIndex, entries: Iterable[Entry]) -> None:
    """Add entries as they come."""
    rows = list(entries)
    keys = np.frombuffer(b"".join(key for key, _ in rows), np.uint8).reshape(-1, 16)
    index.add(keys, np.array([place for _, place in rows], np.uint64))


def work(index: RunIndex, *, seal: bool = False) -> list[Job]:
    """Do all the work there is; the jobs."""
    done = []
    while (job := (index.seal() if seal else None) or index.job()) is not None:
        job.run()
        assert index.adopt(job)
        done.append(job)
    return done


def seal(index: RunIndex) -> str:
    """Put what is in memory into a run; its name."""
    job = index.seal()
    assert job is not None
    job.run()
    assert index.adopt(job)
    return job.name


def sealed(folder: Path, entries: Iterable[Entry], name: str = NAME) -> str:
    """A folder with one run of these entries; the name of its file."""
    index = RunIndex(folder, name)
    add(index, entries)
    seal(index)
    index.close()
    return index_file(folder)


def index_file(folder: Path) -> str:
    """The only run there is."""
    (path,) = folder.glob("*.run")
    return path.name
