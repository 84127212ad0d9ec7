"""What a node has at hand in a world: its sign state, its mempool, its executor."""

from collections.abc import Sequence

from cherrydag import crypto
from cherrydag.consensus.effects import SubDag
from cherrydag.consensus.ports import SignMark
from cherrydag.errors import InvariantViolation
from cherrydag.payload import EMPTY_PAYLOAD, Payload
from cherrydag.primitives import Digest, TimestampMs


class SignState:
    """consensus.ports.SignState: durable at once, and never lower than it was."""

    __slots__ = ("_mark",)

    def __init__(self) -> None:
        self._mark: SignMark | None = None

    def load(self) -> SignMark | None:
        """The mark, None if the key has never signed."""
        return self._mark

    def record(self, mark: SignMark) -> None:
        """Take a higher mark. InvariantViolation for one that is not: two signatures in a round."""
        if self._mark is not None and mark.round <= self._mark.round:
            raise InvariantViolation(f"sign marks rise (I4): {mark.round} after {self._mark.round}")
        self._mark = mark


class Payloads:
    """consensus.ports.PayloadSource: how many payloads wait, drawn from those that the world has made."""

    __slots__ = ("_made", "_next", "waiting")

    def __init__(self, made: Sequence[Payload], first: int) -> None:
        self._made = made
        self._next = first
        self.waiting = 1

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self.waiting == 0

    def take(self, now_ms: TimestampMs) -> Payload:  # noqa: ARG002 - the port asks for it
        """The next payload, EMPTY_PAYLOAD if none waits."""
        if not self.waiting:
            return EMPTY_PAYLOAD
        self.waiting -= 1
        payload = self._made[self._next % len(self._made)]
        self._next += 1
        return payload


class Executor:
    """A mock: the state root chains what was executed, so that order and content matter."""

    __slots__ = ("roots",)

    def __init__(self) -> None:
        self.roots: list[Digest] = [Digest(bytes(32))]

    @property
    def index(self) -> int:
        """Of the last commit executed."""
        return len(self.roots) - 1

    def execute(self, sub_dag: SubDag) -> Digest:
        """The state root after this commit."""
        parts = [self.roots[-1], sub_dag.commit.digest, *(v.payload.root for v in sub_dag.vertices)]
        self.roots.append(Digest(crypto.hash_bytes(b"".join(parts))))
        return self.roots[-1]
