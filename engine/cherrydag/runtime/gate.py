"""Whether a submission may begin, by how many are open and by how much waits already."""

import asyncio
from collections.abc import Callable
from typing import Final

from cherrydag.errors import Overloaded
from cherrydag.mempool import Mempool
from cherrydag.overload import OverloadControl
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.submissions import Tracker

WAIT: Final = "overload.wait_ms"
OPEN: Final = "submissions"


class Gate:
    """In front of a service. open_max: submissions that may be open at a time. arriving: transactions that
    are being checked. refused: submissions since the start, by the limit that they met."""

    def __init__(self, overload: OverloadControl, mempool: Mempool, tracker: Tracker, open_max: int) -> None:
        self.overload = overload
        self.arriving = 0
        self.refused = {WAIT: 0, OPEN: 0}
        self._mempool = mempool
        self._tracker = tracker
        self._open_max = open_max
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """Transactions that are being checked, or wait for a vertex of ours."""
        return self.arriving + len(self._mempool)

    async def enter(self, progress: Callable[[], "asyncio.Future[None]"], *, wait: bool) -> None:
        """Before any work is spent on a submission: Overloaded, or a wait until less waits.

        progress: done with the next commit; raises what has stopped the ledger.
        """
        self._check_open()
        if not wait:
            self._check_waiting()
        while wait and (after_ms := self.overload.retry_after_ms(self._now_ms(), self.waiting)):
            await asyncio.wait([progress()], timeout=after_ms / 1000)  # what waits may also expire
            progress()
            self._check_open()  # others may have passed meanwhile

    def observe(self, drained: int) -> None:
        """See how much has been drained, ever."""
        self.overload.observe(self._now_ms(), drained, self.waiting)

    def _now_ms(self) -> TimestampMs:
        return TimestampMs(int(self._loop.time() * 1000))

    def _check_open(self) -> None:
        most = self._open_max
        if len(self._tracker) >= most:
            self.refused[OPEN] += 1
            raise Overloaded(f"submissions: {most} are open; try again later", limit=most)

    def _check_waiting(self) -> None:
        try:
            self.overload.check(self._now_ms(), self.waiting)
        except Overloaded:
            self.refused[WAIT] += 1
            raise
