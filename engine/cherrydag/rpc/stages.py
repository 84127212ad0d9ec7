"""What a host is seen doing, counted by the vertex and the commit: stages, finality, others' clocks."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from cherrydag.execution.accounts import Status
from cherrydag.primitives import Digest, ValidatorIndex
from cherrydag.rpc.histogram import FINALITY_S, Histogram
from cherrydag.runtime.books import Executed
from cherrydag.runtime.host import Host
from cherrydag.vertex import ValidatorVertex, Vertex

FOLLOWED_MAX: Final = 1 << 14
"""Vertices of ours whose way to finality is timed at once; of more it is not."""

CLOCK_WINDOW_S: Final = 30.0
"""Others' clocks are judged by the vertex that came soonest within this time."""

_CLOCK_STEPS: Final = 3  # parts of the window, of which the oldest is forgotten as a whole


class PeerClocks:
    """How far others' clocks are from ours, by the timestamps of their vertices when they come.

    A vertex comes later than it is made, so each author's greatest difference within a window counts: his
    clock minus ours, less the shortest way. The median over authors is what f liars cannot move beyond
    honest ones.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[float, dict[ValidatorIndex, float]]] = deque(maxlen=_CLOCK_STEPS)

    def note(self, author: ValidatorIndex, offset_s: float, now_s: float) -> None:
        """A vertex of this author has come, dated so far ahead of our clock (below 0: behind)."""
        if not self._parts or now_s >= self._parts[-1][0] + CLOCK_WINDOW_S / _CLOCK_STEPS:
            self._parts.append((now_s, {}))
        newest = self._parts[-1][1]
        newest[author] = max(offset_s, newest.get(author, -math.inf))

    def offset_s(self, now_s: float) -> float:
        """Seconds that others' clocks are ahead of ours, NaN while nothing is known."""
        best: dict[ValidatorIndex, float] = {}
        for begun_s, part in self._parts:
            if now_s < begun_s + CLOCK_WINDOW_S:
                for author, offset_s in part.items():
                    best[author] = max(offset_s, best.get(author, -math.inf))
        return statistics.median(best.values()) if best else math.nan


class Stages:
    """Looks on at a host, as runtime.host_ports.Watcher. clock_s: never steps; wall_s: Unix time."""

    def __init__(
        self,
        host: Host,
        clock_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.clocks = PeerClocks()
        self.vertices_accepted = 0
        self.transactions_accepted = 0
        self.transactions_applied = 0
        self.transactions_failed = 0
        self.vertices_final = 0
        self.transaction_finality = Histogram(FINALITY_S)
        self.vertex_finality = Histogram(FINALITY_S)
        self.commit_interval = Histogram(FINALITY_S)
        self._host = host
        self._clock_s = clock_s
        self._wall_s = wall_s
        self._accepted: dict[Digest, float] = {}
        self._committed_s: float | None = None

    def start(self) -> None:
        """Look on from now on."""
        self._host.watchers.append(self)

    def stop(self) -> None:
        """Look on no more. Idempotent; the host may have let go of all who look on."""
        if self in self._host.watchers:
            self._host.watchers.remove(self)

    def offset_s(self) -> float:
        """As PeerClocks.offset_s, now."""
        return self.clocks.offset_s(self._clock_s())

    @property
    def since_commit_s(self) -> float:
        """Since the last commit became final here, NaN before the first."""
        return math.nan if self._committed_s is None else self._clock_s() - self._committed_s

    # What the host tells

    def on_accepted(self, vertices: Sequence[Vertex]) -> None:
        """As Watcher has it."""
        now_s, me = self._clock_s(), self._host.node.me
        wall_s = self._wall_s()
        for vertex in vertices:
            self.vertices_accepted += 1
            self.transactions_accepted += len(vertex.payload)
            if not isinstance(vertex, ValidatorVertex):
                continue
            if vertex.author != me:
                self.clocks.note(vertex.author, vertex.timestamp_ms / 1000 - wall_s, now_s)
            elif len(self._accepted) < FOLLOWED_MAX:
                self._accepted[vertex.digest] = now_s

    def on_final(self, executed: Executed) -> None:
        """As Watcher has it."""
        now_s = self._clock_s()
        if self._committed_s is not None:
            self.commit_interval.observe(now_s - self._committed_s)
        self._committed_s = now_s
        vertices, statuses = executed.sub_dag.vertices, executed.result.statuses
        self.vertices_final += len(vertices)
        for vertex, found in zip(vertices, statuses, strict=True):
            applied = int(np.count_nonzero(found == Status.APPLIED))
            self.transactions_applied += applied
            self.transactions_failed += len(found) - applied
            accepted_s = self._accepted.pop(vertex.digest, None)
            if accepted_s is not None:
                self.vertex_finality.observe(now_s - accepted_s)
                self.transaction_finality.observe(now_s - accepted_s, len(found))
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        """Vertices of ours that no commit will have: those that were lost."""
        while self._accepted:
            digest, accepted_s = next(iter(self._accepted.items()))
            if now_s - accepted_s <= 2 * FINALITY_S[-1]:
                return
            del self._accepted[digest]
