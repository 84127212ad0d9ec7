"""A subscription to the DAG as it grows: first what is kept behind its cursor, then what comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cherrydag.rpc.subscriptions import Subscription

if TYPE_CHECKING:
    from cherrydag.rpc.dag_feed import DagEvent
    from cherrydag.rpc.forms import Json
    from cherrydag.rpc.subscriptions import Session


class DagSubscription(Subscription):
    """Every note of the feed behind a cursor. is_gap: the first event says that it could not go on where it
    wanted to."""

    def __init__(self, session: Session, number: int, cursor: int, *, is_gap: bool) -> None:
        super().__init__(session, number, cursor)
        self._told = cursor
        self._is_gap = is_gap
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Tell what is kept, then join."""
        self._task = asyncio.create_task(self._catch_up())

    def tell(self, event: DagEvent) -> None:
        """What comes next."""
        self._told = event.cursor
        self.session.push(self.message(event.cursor, b"result", event.encoded), self, event.cursor)

    def stop(self) -> None:
        """Leave."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self.session.hub.dag.leave(self)

    async def _catch_up(self) -> None:
        """From the check of the cursor to the joining nothing else runs. There is one event even if there is
        nothing to tell: it says where the node stands."""
        cast, reads = self.session.hub.dag, self.session.hub.backend.reads
        is_gap = self._is_gap
        while True:
            self.tell(cast.feed.event(self._told, cast.cursor, is_gap=is_gap))
            if self._told == cast.cursor:
                cast.join(self)
                return
            is_gap = False
            await reads.enter()
            await self.session.room()


def subscribe_dag(session: Session, after: int | None) -> Json:
    """Tell how the DAG grows behind `after`."""
    number = session.next_number()
    cursor, is_gap = session.hub.dag.feed.begin(after)
    session.add(DagSubscription(session, number, cursor, is_gap=is_gap))
    return {"subscription": number, "cursor": cursor}
