"""Whom a host works with: its peers, who is told what becomes of commits, and who looks on."""

from collections.abc import Sequence
from typing import Protocol

from cherrydag.commit import Commit
from cherrydag.gossip.messages import Message
from cherrydag.primitives import Peer
from cherrydag.runtime.books import Executed
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex


class Network(Protocol):
    """The peers of a node, as its host speaks to them."""

    def send(self, peer: Peer, message: Message) -> None:
        """Send to one peer; dropped if it is not connected."""

    def broadcast(self, vertex: ValidatorVertex) -> None:
        """Send our own vertex to all that are connected."""

    def relay(self, vertex: OperatorVertex, source: Peer) -> None:
        """Send an operator's vertex to those that should have it, but not to where it came from."""

    def penalise(self, peer: Peer, code: str, reason: str) -> None:
        """A peer broke a rule."""


class NoPeers:
    """The network of a solo chain."""

    def send(self, peer: Peer, message: Message) -> None:
        """There is nobody."""

    def broadcast(self, vertex: ValidatorVertex) -> None:
        """There is nobody."""

    def relay(self, vertex: OperatorVertex, source: Peer) -> None:
        """There is nobody."""

    def penalise(self, peer: Peer, code: str, reason: str) -> None:
        """There is nobody."""


class Listener(Protocol):
    """Who is told what becomes of commits and vertices."""

    def on_sequenced(self, commit: Commit, ids: Sequence[bytes | None]) -> None:
        """The main chain has a commit, not durable yet. ids: of each vertex's transactions, if known."""

    def on_executed(self, executed: Executed) -> None:
        """A durable commit has been executed."""

    def on_lost(self, vertices: Sequence[Vertex]) -> None:
        """These were dropped uncommitted."""

    def on_failure(self, error: BaseException) -> None:
        """The host has stopped."""


class Watcher(Protocol):
    """Who looks on as the DAG grows. It is told on the host's thread, so it takes little time, and may not
    raise."""

    def on_accepted(self, vertices: Sequence[Vertex]) -> None:
        """These are in the window, ours among them, parents before children; not durable yet."""

    def on_final(self, executed: Executed) -> None:
        """A commit is final."""
