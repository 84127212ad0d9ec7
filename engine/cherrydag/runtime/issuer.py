"""Issuing on an event loop: an operator's vertices, made of its own mempool, handed to its own node."""

import asyncio
from collections.abc import Sequence

from cherrydag.commit import Commit
from cherrydag.consensus.effects import Relay
from cherrydag.consensus.issuing import Issuing
from cherrydag.consensus.ports import SignState
from cherrydag.errors import Rejected
from cherrydag.execution.bonds import quota_of
from cherrydag.mempool import MempoolSource
from cherrydag.params import PEER_SELF
from cherrydag.primitives import Peer, PublicKey, TimestampMs
from cherrydag.runtime.books import Executed
from cherrydag.runtime.clock import Clock
from cherrydag.runtime.host import Host
from cherrydag.runtime.host_ports import Listener
from cherrydag.vertex import OperatorVertex, Vertex


class Issuer:
    """Between a host and its listener: it sees what becomes of vertices, and issues when there is room.

    attach(host, issuing) before the host starts. Everything runs on the loop's thread.
    """

    def __init__(self, operator: PublicKey, source: MempoolSource, listener: Listener, clock: Clock) -> None:
        self._operator = operator
        self._source = source
        self._listener = listener
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_poked = False
        self._is_closed = False

    def attach(self, host: Host, issuing: Issuing) -> None:
        """The host whose node takes the vertices, and who makes them."""
        self._host = host
        self.issuing = issuing
        host.after_step = self.poke

    def start(self, sign_state: SignState) -> None:
        """The node has started, and no peer is there yet: mark what a crash has left unmarked."""
        mark = self.issuing.recover(self._clock.now_ms())
        last = sign_state.load()
        if mark is not None and (last is None or last.round < mark.round):
            sign_state.record(mark)
        self.issuing.quota = quota_of(self._host.books.bond_of(self._operator))
        self.poke()

    def close(self) -> None:
        """Issue no more. Idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def check(self) -> None:
        """Rejected if nothing that is handed in could be issued."""
        if not self.issuing.quota:
            key = self._operator.hex()
            raise Rejected("operator_unbonded", f"this node's operator key {key} has no active bond")

    def poke(self) -> None:
        """Something has happened after which it may be time to issue: looked at once the loop has turned."""
        if not self._is_poked and not self._is_closed:
            self._is_poked = True
            self._loop.call_soon(self._issue)

    def _issue(self) -> None:
        self._is_poked = False
        if self._is_closed or self._host.failure is not None:
            return
        issuing, now_ms = self.issuing, self._clock.now_ms()
        vertex = issuing.make(now_ms)
        if vertex is not None:
            self._submit(vertex, now_ms)
        again = issuing.overdue(now_ms)
        if again is not None:
            relay, spreading = Relay(again, Peer(PEER_SELF)), self._host.node.spreading
            self._host.step(lambda: [*spreading.on_effect(relay, now_ms)])
        self._arm(now_ms)

    def _submit(self, vertex: OperatorVertex, now_ms: TimestampMs) -> None:
        """Into our own node first. If that has no room for it, what it carries waits again."""
        node = self._host.node
        self._host.step(node.submit_vertex, vertex, now_ms)
        if self._host.failure is None:
            if node.engine.window.get(vertex.digest) is None:
                self.issuing.refused(vertex, now_ms)
                self._source.on_lost((vertex,))
            else:
                self.issuing.issued(vertex, now_ms)

    def _arm(self, now_ms: TimestampMs) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_ms = self.issuing.wake_ms
        if wake_ms is not None:
            self._timer = self._loop.call_later(max(1, wake_ms - now_ms) / 1000, self.poke)

    # What the host tells

    def on_sequenced(self, commit: Commit, ids: Sequence[bytes | None]) -> None:
        """Passed on."""
        self._listener.on_sequenced(commit, ids)

    def on_executed(self, executed: Executed) -> None:
        """A commit is final: it may hold vertices of ours, and change our bond."""
        self._listener.on_executed(executed)
        self.issuing.settled(executed.sub_dag.vertices)
        if executed.result.receipts:
            self.issuing.quota = quota_of(self._host.books.bond_of(self._operator))
        self.poke()

    def on_lost(self, vertices: Sequence[Vertex]) -> None:
        """What our vertices carried waits again, and is issued again."""
        self._listener.on_lost(vertices)
        self.issuing.settled(vertices)
        self.poke()

    def on_failure(self, error: BaseException) -> None:
        """The host has stopped."""
        self.close()
        self._listener.on_failure(error)
