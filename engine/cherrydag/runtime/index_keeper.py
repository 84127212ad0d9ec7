"""The indexes of the main chain, transaction id -> place and account -> places, and their work on files.

What is in memory is written by one thread and files are merged by another: a merge may take seconds, and
neither memory nor a checkpoint waits for it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cherrydag.address import addresses_of
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import Overloaded, invariant
from cherrydag.execution.body import ZERO_ADDRESS
from cherrydag.execution.module import CHARGED
from cherrydag.primitives import Address, Digest
from cherrydag.runtime.background import Background
from cherrydag.storage.run_index import Job, RunIndex, RunOptions
from cherrydag.transaction import Octets, Records, Words
from cherrydag.vertex import Vertex

KEY_BYTES: Final = 16
"""Bytes of an id or an address that are its key: too many for anybody to find two that share them."""

TRANSACTIONS: Final = "transactions"
ACCOUNTS: Final = "accounts"

_COPIES: Final = 16

_IS_CHARGED: Final = np.isin(np.arange(256), CHARGED)
_ZERO_KEY: Final = np.frombuffer(ZERO_ADDRESS[:KEY_BYTES], np.uint64).reshape(1, -1)


class Place(NamedTuple):
    """Where a transaction stands: its commit, and its number among the transactions of that."""

    commit_index: int
    position: int

    @classmethod
    def of(cls, number: int) -> "Place":
        """From index << 32 | position."""
        return cls(number >> 32, number & 0xFFFF_FFFF)

    @property
    def number(self) -> int:
        """As one integer: places sort as the main chain orders them."""
        return self.commit_index << 32 | self.position


class IndexKeeper:
    """Both indexes of one ledger. writer: writes what is in memory. merger: merges files."""

    def __init__(
        self,
        folder: Path,
        runs: Mapping[str, Sequence[str]],
        writer: Background,
        merger: Background,
        options: RunOptions | None = None,
    ) -> None:
        self._writer, self._merger = writer, merger
        self._indexes = {
            name: RunIndex(folder, name, runs.get(name, ()), options) for name in (TRANSACTIONS, ACCOUNTS)
        }
        self._flushing: Counter[str] = Counter()
        self._merging: set[str] = set()
        self._unsealed: set[str] = set()
        self._on_sealed: Callable[[Mapping[str, tuple[str, ...]]], None] | None = None

    def add(
        self, commit_index: int, vertices: Sequence[Vertex], ids: Sequence[bytes], statuses: Sequence[Octets]
    ) -> None:
        """Index a commit: each transaction by its id; by its sender and recipient if it left a trace."""
        filled = [row for row, vertex in enumerate(vertices) if len(vertex.payload)]
        if not filled:
            return
        parts = [vertices[row].payload.records for row in filled]
        of_row = np.concatenate([statuses[row] for row in filled])
        keys = np.frombuffer(b"".join(ids[row] for row in filled), np.uint8).reshape(-1, DIGEST_BYTES)
        places = np.arange(len(of_row), dtype=np.uint64) + np.uint64(commit_index << 32)
        self._put(TRANSACTIONS, np.ascontiguousarray(keys[:, :KEY_BYTES]), places)
        public_keys, addresses = _column(parts, "sender"), _column(parts, "recipient")
        charged = _IS_CHARGED[of_row]
        if not charged.all():
            public_keys, addresses, places = public_keys[charged], addresses[charged], places[charged]
        senders, recipients = _keys(addresses_of(public_keys)), _keys(addresses)
        is_other = _differ(recipients, senders) & _differ(recipients, _ZERO_KEY)
        both = np.concatenate([senders, recipients[is_other]])
        self._put(ACCOUNTS, both.view(np.uint8), np.concatenate([places, places[is_other]]))

    def find(self, transaction_id: Digest) -> Iterator[Place]:
        """Where the transaction and copies of it stand, first to last."""
        index, after = self._indexes[TRANSACTIONS], -1
        while found := index.page(transaction_id[:KEY_BYTES], after=after, limit=_COPIES):
            yield from map(Place.of, found)
            after = found[-1]
            if len(found) < _COPIES:
                return

    def history(self, address: Address, before: int | None, limit: int) -> list[Place]:
        """Places of an account's transactions, newest first. before: only those below this number."""
        found = self._indexes[ACCOUNTS].page(address[:KEY_BYTES], before=before, limit=limit)
        return [Place.of(number) for number in found]

    # Files

    @property
    def can_seal(self) -> bool:
        """Whether `seal` can begin."""
        return self._on_sealed is None and all(index.can_seal for index in self._indexes.values())

    def seal(self, on_sealed: Callable[[Mapping[str, tuple[str, ...]]], None]) -> None:
        """Put all that is indexed now into files, and tell their names. Only while it can.

        What is added meanwhile stays in memory, so that the files hold nothing newer.
        """
        invariant(self.can_seal, "one seal at a time, and room for its files")
        self._on_sealed = on_sealed
        self._unsealed = set(self._indexes)
        for name, index in self._indexes.items():
            while (job := index.seal()) is not None:
                self._flush(name, job)
        for name in self._indexes:
            self._settle(name)

    def discard(self, keep: Mapping[str, Collection[str]]) -> None:
        """Delete the files that are neither in use nor to be kept."""
        for name, index in self._indexes.items():
            index.discard(keep.get(name, ()))

    def memory_bytes(self) -> int:
        """What both take in memory."""
        return sum(index.stats().memory_bytes for index in self._indexes.values())

    def close(self) -> None:
        """Let the files go."""
        for index in self._indexes.values():
            index.close()

    def _put(self, name: str, keys: Octets, places: Words) -> None:
        index = self._indexes[name]
        while True:
            try:
                index.add(keys, places)
                break
            except Overloaded:  # the disk is far behind: wait for it here, as nothing else would
                behind = self._writer if self._writer.outstanding else self._merger
                if not behind.outstanding:
                    raise
                behind.drain()  # a merge may be what lets the writer go on
        self._work(name)

    def _work(self, name: str) -> None:
        if self._on_sealed is not None:
            return
        index = self._indexes[name]
        if not self._flushing[name] and (job := index.flush()) is not None:
            self._flush(name, job)
        if name not in self._merging and (job := index.merge()) is not None:
            self._merge(name, job)

    def _flush(self, name: str, job: Job) -> None:
        self._flushing[name] += 1

        def done(_: object) -> None:
            self._flushing[name] -= 1
            self._indexes[name].adopt(job)
            self._settle(name)
            self._work(name)

        self._writer.submit(job.run, done)

    def _merge(self, name: str, job: Job) -> None:
        self._merging.add(name)

        def done(_: object) -> None:
            self._merging.discard(name)
            self._indexes[name].adopt(job)
            self._work(name)

        self._merger.submit(job.run, done)

    def _settle(self, name: str) -> None:
        """An index is sealed once nothing of it is being written."""
        if self._flushing[name]:
            return
        self._unsealed.discard(name)
        if not self._unsealed and self._on_sealed is not None:
            on_sealed, self._on_sealed = self._on_sealed, None
            on_sealed({name: index.runs for name, index in self._indexes.items()})
            for other in self._indexes:
                self._work(other)


def _keys(addresses: Octets) -> Words:
    """The keys of n addresses, two words each: words compare several times as fast as bytes."""
    return np.ascontiguousarray(addresses[:, :KEY_BYTES]).view(np.uint64)


def _differ(keys: Words, others: Words) -> npt.NDArray[np.bool_]:
    """Which of n keys are not the other one, or not the n others."""
    found: npt.NDArray[np.bool_] = (keys[:, 0] != others[:, 0]) | (keys[:, 1] != others[:, 1])
    return found


def _column(parts: Sequence[Records], name: str) -> Octets:
    """A field of all records, contiguous: a sixth of the time of joining whole records."""
    return np.concatenate([part[name] for part in parts])
