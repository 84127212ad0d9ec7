"""Effects on their way to the host, those that need a durable write behind them held back until it is made.

Persist before send: whatever leaves after a write was staged waits for that write, in order.
"""

from collections import deque

from cherrydag.commit import Commit
from cherrydag.consensus.effects import Broadcast, Effect, Persist, Relay, SwapRecord, Ticket
from cherrydag.primitives import Digest
from cherrydag.vertex import ValidatorVertex, Vertex


class Outbox:
    """Collects effects and writes of one engine; `take` hands them over."""

    __slots__ = ("_commits", "_durable", "_effects", "_held", "_swaps", "_ticket", "_urgent", "_vertices")

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._held: deque[tuple[Ticket, Effect]] = deque()
        self._vertices: list[Vertex] = []
        self._commits: list[Commit] = []
        self._swaps: list[SwapRecord] = []
        self._urgent = False
        self._ticket = Ticket(0)
        self._durable = Ticket(0)

    def emit(self, effect: Effect) -> None:
        """An effect that waits for nothing."""
        self._effects.append(effect)

    def write_vertex(self, vertex: Vertex) -> None:
        """Stage an accepted vertex. It is written with whatever next needs it to be."""
        self._vertices.append(vertex)

    def write_commit(self, commit: Commit, swaps: SwapRecord | None) -> None:
        """Stage a commit, after its vertices."""
        self._commits.append(commit)
        if swaps is not None:
            self._swaps.append(swaps)
        self._urgent = True

    def hold(self, effect: Effect) -> None:
        """An effect that waits until everything staged so far is durable."""
        if not self._staged:
            self._hold_until(self._ticket, effect)
            return
        self._urgent = True
        self._hold_until(Ticket(self._ticket + 1), effect)

    def on_persisted(self, ticket: Ticket) -> list[ValidatorVertex]:
        """The writes up to this ticket are durable: release what waited for them. Others are ignored.

        Returns our vertices among that, which leave only once the sign mark is as high.
        """
        self._durable = min(max(self._durable, ticket), self._ticket)
        released: list[Effect] = []
        while self._held and self._held[0][0] <= self._durable:
            released.append(self._held.popleft()[1])
        self._effects += released
        return [effect.vertex for effect in released if isinstance(effect, Broadcast)]

    def take(self) -> list[Effect]:
        """What the host has to do now, in order; staged vertices alone wait for a reason to be written."""
        if self._urgent:
            self._ticket = Ticket(self._ticket + 1)
            write = Persist(self._ticket, tuple(self._vertices), tuple(self._commits), tuple(self._swaps))
            self._effects.append(write)
            self._vertices, self._commits, self._swaps, self._urgent = [], [], [], False
        taken, self._effects = self._effects, []
        return taken

    @property
    def unsent(self) -> int:
        """Validator vertices of ours that wait for a write."""
        return sum(1 for _, effect in self._held if isinstance(effect, Broadcast))

    @property
    def unsent_digests(self) -> list[Digest]:
        """Vertices of ours, of either kind, that nobody may get before a write is made."""
        return [effect.vertex.digest for _, effect in self._held if isinstance(effect, Broadcast | Relay)]

    @property
    def is_clear(self) -> bool:
        """Whether nothing waits for a write."""
        return not self._held

    @property
    def _staged(self) -> bool:
        return bool(self._vertices or self._commits or self._swaps)

    def _hold_until(self, ticket: Ticket, effect: Effect) -> None:
        if ticket <= self._durable:
            self._effects.append(effect)
        else:
            self._held.append((ticket, effect))
