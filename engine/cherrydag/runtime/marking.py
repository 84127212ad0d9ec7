"""The sign mark, kept up beside the loop: a durable write is told to the node once its mark is durable too.

A validator's mark is its round, an operator's its seq: nobody may see a vertex of ours that is not marked.

The core records the mark itself where it is behind; here it is made sure that it never is, since an fdatasync
on the loop's thread would hold up everybody for milliseconds.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from cherrydag.chain import Chain
from cherrydag.consensus.effects import Ticket
from cherrydag.consensus.issuing import mark_of
from cherrydag.consensus.ports import SignMark, SignState
from cherrydag.primitives import PublicKey, ValidatorIndex
from cherrydag.runtime.background import Background
from cherrydag.vertex import OperatorVertex, Vertex


class Marking:
    """Between the store and the node. One mark is under way at a time, and it covers all that is durable.

    background: a thread of its own, so that no file of a checkpoint is in front. Nobody else uses sign_state
    while a mark is under way. me, operator: whose vertices are ours, one of them at most.
    """

    def __init__(
        self,
        sign_state: SignState,
        chain: Chain,
        background: Background,
        me: ValidatorIndex | None,
        operator: PublicKey | None = None,
    ) -> None:
        self._sign_state = sign_state
        self._chain = chain
        self._background = background
        self._me = me
        self._operator = operator
        self._expected: deque[tuple[Ticket, Vertex]] = deque()
        self._durable = Ticket(0)
        self._is_busy = False

    def attach(self, tell: Callable[[Ticket], None]) -> None:
        """Who is told of tickets that are durable and marked."""
        self._tell = tell

    def is_ours(self, vertex: Vertex) -> bool:
        """Whether this vertex is of this node."""
        if isinstance(vertex, OperatorVertex):
            return vertex.issuer == self._operator
        return vertex.author == self._me

    def expect(self, ticket: Ticket, vertex: Vertex) -> None:
        """A vertex of ours is in this write: it must be marked before it leaves."""
        self._expected.append((ticket, vertex))

    def durable(self, ticket: Ticket) -> None:
        """The writes up to this ticket are durable."""
        self._durable = ticket
        if not self._is_busy:
            self._go_on()

    def _go_on(self) -> None:
        ticket, newest = self._durable, None
        while self._expected and self._expected[0][0] <= ticket:
            newest = self._expected.popleft()[1]
        if newest is None:
            self._tell(ticket)
            return
        self._is_busy = True
        if isinstance(newest, OperatorVertex):
            mark = mark_of(newest)
        else:
            mark = SignMark(newest.round, newest.signing_digest(self._chain))
        self._background.submit(partial(self._record, mark), partial(self._recorded, ticket))

    def _record(self, mark: SignMark) -> None:
        last = self._sign_state.load()
        if last is None or last.round < mark.round:
            self._sign_state.record(mark)

    def _recorded(self, ticket: Ticket, _: object) -> None:
        self._is_busy = False
        self._tell(ticket)
        if self._durable > ticket and not self._is_busy:
            self._go_on()
