"""Ranges of commits on their way from a peer to the main chain: asked for, certified, then complete."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from cherrydag.codec import vertex_parts
from cherrydag.commit import Commit
from cherrydag.gossip.certified import CommitLink
from cherrydag.primitives import Peer
from cherrydag.refs import AnyRef
from cherrydag.vertex import Vertex


class CertifiedCommit(NamedTuple):
    """A commit of the certified chain and all its vertices, in its order."""

    commit: Commit
    vertices: tuple[Vertex, ...]


class CommitRange:
    """Commits first..last that `peer` was asked for under `number`.

    It holds no commits until the peer has answered, and is certified once votes of validity stake have been
    verified; then it asks for its vertices. held_bytes: frames of its commits and of the vertices it holds.
    """

    __slots__ = (
        "_asked",
        "_left",
        "_missing",
        "_queue",
        "_vertices",
        "certified",
        "commits",
        "first",
        "held_bytes",
        "last",
        "number",
        "peer",
    )

    def __init__(self, number: int, peer: Peer, first: int, last: int) -> None:
        self.number = number
        self.peer = peer
        self.first = first
        self.last = self._asked = last
        self.commits: deque[Commit] = deque()
        self.certified = False
        self.held_bytes = 0
        self._missing: dict[AnyRef, int] = {}
        self._left: dict[int, int] = {}
        self._vertices: dict[AnyRef, Vertex] = {}
        self._queue: deque[AnyRef] = deque()

    def fill(self, commits: Sequence[Commit]) -> None:
        """The peer has answered with these, at least one: what it was asked for or the first of it."""
        self.commits.extend(commits)
        self.last = commits[-1].index
        self.held_bytes = sum(len(commit.encoding) for commit in commits)

    @property
    def is_whole(self) -> bool:
        """Whether the answer reached as far as was asked for."""
        return self.last == self._asked

    def certify(self, find: Callable[[AnyRef], Vertex | None]) -> None:
        """The commits are the chain's: whatever of their vertices `find` does not have is missing."""
        self.certified = True
        for commit in self.commits:
            self._left[commit.index] = 0
            for ref in commit.vertices:
                vertex = find(ref)
                if vertex is None:
                    self._missing[ref] = commit.index
                    self._left[commit.index] += 1
                    self._queue.append(ref)
                else:
                    self._hold(ref, vertex)

    def commit_at(self, index: int) -> Commit | None:
        """The commit of this index if it is held."""
        if not self.commits or not self.commits[0].index <= index <= self.commits[-1].index:
            return None
        return self.commits[index - self.commits[0].index]

    # Vertices

    @property
    def is_wanting(self) -> bool:
        """Whether there are vertices to ask for."""
        return bool(self._queue)

    def take_refs(self, limit: int, of_first: bool) -> tuple[AnyRef, ...]:
        """References to ask for now, of the lowest commits or (of_first) of the first one alone."""
        if of_first:
            index = self.commits[0].index
            chosen = tuple(islice((r for r in self._queue if self._missing.get(r) == index), limit))
            left = set(chosen)
            self._queue = deque(ref for ref in self._queue if ref not in left)
            return chosen
        taken: list[AnyRef] = []
        while self._queue and len(taken) < limit:
            ref = self._queue.popleft()
            if ref in self._missing:
                taken.append(ref)
        return tuple(taken)

    def lacks(self, ref: AnyRef, index: int) -> bool:
        """Whether the commit of this index waits for this vertex."""
        return self._missing.get(ref) == index

    def give_back(self, refs: Iterable[AnyRef]) -> None:
        """What was asked for in vain is asked for again, first."""
        self._queue.extendleft(reversed([ref for ref in refs if ref in self._missing]))

    def add(self, vertices: Iterable[Vertex]) -> None:
        """Hold these vertices, in so far as they are missing."""
        for vertex in vertices:
            ref = vertex.ref
            index = self._missing.pop(ref, None)
            if index is not None:
                self._left[index] -= 1
                self._hold(ref, vertex)

    # What leaves

    def pop_complete(self) -> CertifiedCommit | None:
        """The first commit with its vertices, taken out; None if some are missing."""
        if not self.certified or not self.commits or self._left[self.commits[0].index]:
            return None
        vertices = tuple(self._vertices[ref] for ref in self.commits[0].vertices)
        return CertifiedCommit(self._drop_first(), vertices)

    def drop_up_to(self, index: int) -> None:
        """Forget commits that are no longer needed."""
        if self.certified:
            while self.commits and self.commits[0].index <= index:
                self._drop_first()

    def _drop_first(self) -> Commit:
        commit = self.commits.popleft()
        del self._left[commit.index]
        self.held_bytes -= len(commit.encoding)
        for ref in commit.vertices:
            self._missing.pop(ref, None)
            vertex = self._vertices.pop(ref, None)
            if vertex is not None:
                self.held_bytes -= _frame_bytes(vertex)
        return commit

    def _hold(self, ref: AnyRef, vertex: Vertex) -> None:
        self._vertices[ref] = vertex
        self.held_bytes += _frame_bytes(vertex)


def in_order(ranges: Iterable[CommitRange]) -> list[CommitRange]:
    """By index; no two of them overlap."""
    return sorted(ranges, key=lambda held: held.first)


def first_gap(ranges: Iterable[CommitRange], first: int, limit: int) -> tuple[int, int] | None:
    """The lowest indices from `first` on that lie before a range or within the limit, and in no range."""
    for held in in_order(ranges):
        if held.first > first:
            return first, held.first - 1
        first = max(first, held.last + 1)
    return (first, limit) if first <= limit else None


def certified_links(ranges: Iterable[CommitRange]) -> list[CommitLink]:
    """Both ends of what is certified: where a range beside it must meet it."""
    links = []
    for held in ranges:
        if held.certified:
            first, last = held.commits[0], held.commits[-1]
            links += [CommitLink(first.index - 1, first.prev_digest), CommitLink(last.index, last.digest)]
    return links


def _frame_bytes(vertex: Vertex) -> int:
    return sum(map(len, vertex_parts(vertex)))
