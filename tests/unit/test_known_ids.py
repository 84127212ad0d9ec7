"""What is kept of vertices that may never be committed is bounded."""

from collections.abc import Iterator

import pytest

from cherrydag.primitives import Digest
from cherrydag.runtime.known_ids import KnownIds


@pytest.fixture
def digests() -> Iterator[Digest]:
    return (Digest(number.to_bytes(32, "big")) for number in range(100_000))


def test_ids_are_kept_until_they_are_taken(digests: Iterator[Digest]) -> None:
    known, vertex, empty = KnownIds(), next(digests), next(digests)
    known.keep(vertex, b"i" * 64)
    known.keep(empty, b"")
    assert known.get(vertex) == b"i" * 64 and known.get(empty) is None
    assert known.take(vertex) == b"i" * 64
    assert known.take(vertex) is None and len(known) == 0


def test_the_oldest_of_what_is_never_committed_go(digests: Iterator[Digest]) -> None:
    known = KnownIds(bytes_max=10_000)
    names = [next(digests) for _ in range(50)]
    for name in names:
        known.keep(name, bytes(6 * 32))
    assert [name for name in names if known.get(name)] == names[-22:]  # of 448 bytes each
    known.keep(next(digests), bytes(20_000))
    assert len(known) == 0


@pytest.mark.parametrize("size", [32, 6000 * 32])
def test_few_and_many_ids_are_bounded_together(digests: Iterator[Digest], size: int) -> None:
    known = KnownIds(bytes_max=1 << 20)
    for name in digests:
        known.keep(name, bytes(size))
        if len(known) * (size + 256) > 1 << 20:
            raise AssertionError(len(known))
    assert len(known) == (1 << 20) // (size + 256)


def test_one_vertex_is_counted_once_and_none_after_all(digests: Iterator[Digest]) -> None:
    known, vertex = KnownIds(bytes_max=1000), next(digests)
    for _ in range(10):
        known.keep(vertex, bytes(320))
    assert len(known) == 1
    known.clear()
    known.keep(next(digests), bytes(640))
    assert len(known) == 1
