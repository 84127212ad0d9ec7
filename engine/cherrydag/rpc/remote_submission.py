"""What a client has handed in to a node over the network, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from cherrydag.errors import PeerFault, Rejected, ShapeError
from cherrydag.params import RECORD_BYTES
from cherrydag.rpc.forms import ANSWER
from cherrydag.runtime.submissions import Phase, SubmittedRows

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from cherrydag.rpc.link import Link
    from cherrydag.transaction import Octets, Records, Words

_Result = TypeVar("_Result")

Rows: TypeAlias = npt.NDArray[np.int64]
"""Numbers of rows."""

PART_BYTES: Final = 8 << 20
"""Most bytes of one request: half of what a node takes unless it is told otherwise."""

_OPEN: Final = (Phase.ACCEPTED, Phase.SEQUENCED)


class Runner(Protocol):
    """Runs a coroutine on a client's loop, from another thread."""

    def __call__(self, work: Coroutine[Any, Any, _Result], timeout_s: float | None = None) -> _Result:
        """Block until it is done; TimeoutError after timeout_s."""


class _Part(NamedTuple):
    """Rows of one request, and the node's token for them."""

    rows: Rows
    token: str


class RemoteSubmission(SubmittedRows):
    """n transactions of one call, handed in to a node over the network.

    Await it, or call `wait` of a Client's, until no row can change any more. What the node has forgotten, by
    a restart, is handed in again, which is harmless.
    """

    def __init__(
        self, link: Link, records: Records, bodies: bytes, offsets: Words | None, ids: bytes
    ) -> None:
        super().__init__(ids)
        self._link = link
        self._records = records
        self._bodies = bodies
        self._offsets = offsets
        self._parts: list[_Part] = []
        self._run: Runner | None = None

    @property
    def is_settled(self) -> bool:
        """Whether no row can change any more, as far as is known here."""
        return not self._open.any()

    @property
    def _open(self) -> npt.NDArray[np.bool_]:
        return np.isin(self.phases, _OPEN)

    def blocking(self, run: Runner) -> Self:
        """Let `wait` block on the loop of a Client."""
        self._run = run
        return self

    def wait(self, timeout_s: float | None = None) -> RemoteSubmission:
        """Block until settled. TimeoutError after timeout_s undoes nothing."""
        if self._run is None:
            raise ShapeError("wait: await it, it is an AsyncClient's")
        return self._run(self.final(), timeout_s)

    async def final(self) -> RemoteSubmission:
        """Await `wait`."""
        while not self.is_settled:
            parts, self._parts = self._parts, []
            for part in parts or self._split(np.flatnonzero(self._open)):
                await self._ask(part)
        return self

    def __await__(self) -> Any:
        return self.final().__await__()

    async def hand_in(self, *, wait_for_room: bool) -> None:
        """Hand all of it in for the first time."""
        for part in self._split(np.arange(len(self))):
            await self._post(part.rows, "wait" if wait_for_room else "refuse")

    async def _ask(self, part: _Part) -> None:
        """Ask for a part's results. What the node has forgotten is handed in again."""
        if part.token:
            try:
                answer, token = await self._link.results(part.token)
            except Rejected as refused:
                if refused.code != "submission_unknown":
                    raise
            else:
                self._take(part.rows, answer, token)
                return
        await self._post(part.rows, "wait")

    async def _post(self, rows: Rows, room: str) -> None:
        body = self._records[rows].tobytes() + self._bodies_of(rows)
        answer, token = await self._link.post_batch(body, len(rows), room)
        self._take(rows, answer, token)

    def _split(self, rows: Rows) -> list[_Part]:
        """Rows by number, ascending, in as many requests as it takes."""
        sizes = RECORD_BYTES + self._records["body_size"][rows].astype(np.int64)
        parts = (np.cumsum(sizes) - sizes) // PART_BYTES
        cuts = np.flatnonzero(parts[1:] != parts[:-1]) + 1
        return [_Part(chosen, "") for chosen in np.split(rows, cuts) if len(chosen)]

    def _bodies_of(self, rows: Rows) -> bytes:
        if self._offsets is None:
            return b""
        spans = zip(self._offsets[rows].tolist(), self._offsets[rows + 1].tolist(), strict=True)
        return b"".join(self._bodies[start:stop] for start, stop in spans)

    def _take(self, rows: Rows, answer: bytes, token: str) -> None:
        if len(answer) != len(rows) * ANSWER.itemsize:
            raise PeerFault("answer", f"submit: {len(answer)} bytes for {len(rows)} rows")
        told = np.frombuffer(answer, ANSWER)
        fresh: Octets = told["phase"]
        if not np.isin(fresh, list(Phase)).all():
            raise PeerFault("answer", "submit: a phase that there is none of")
        self.codes[rows], self.phases[rows] = told["code"], fresh
        self.statuses[rows], self.places[rows] = told["status"], told["place"]
        if token:
            self._parts.append(_Part(rows, token))
