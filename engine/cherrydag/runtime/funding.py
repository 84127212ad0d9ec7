"""Transactions that would pay nothing, as the state is: whose sender cannot pay the fee, or has not used the
nonces before theirs.

Anybody can make any number of them, with new keys, and they pay nothing: in the mempool they would take the
room of others, and so in vertices. So none is admitted. But what would pay for one may be on its way, in the
mempool, in a vertex, or in a commit that other nodes have executed already. So some of them are held beside
the mempool for a moment, are looked at again after each commit, and are admitted once their senders can pay.
A stranger who fills that place keeps out others who cannot pay yet, and nobody who can. Those whose nonce is
too far wait, if they wait at all, with whoever handed them in, as long as it comes nearer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np

from cherrydag.execution.accounts import Status
from cherrydag.mempool import Mempool, Presence
from cherrydag.runtime.lookups import Lookups
from cherrydag.runtime.slices import Mask, Slice
from cherrydag.transaction import Words

FUNDING_MS: Final = 2000
"""How long they are held unless a node is told otherwise: some commits, and what it may be behind the one
that has told of the funds."""

SHARE: Final = 16
"""Rows held are at most one part in so many of what the mempool holds."""


class Funding:
    """Who can pay, and those that cannot yet. progress: done with the next commit. hold_ms: how long one is
    held."""

    def __init__(
        self,
        mempool: Mempool,
        lookups: Lookups,
        progress: Callable[[], "asyncio.Future[None]"],
        hold_ms: int,
    ) -> None:
        self._mempool = mempool
        self._lookups = lookups
        self._progress = progress
        self._hold_s = hold_ms / 1000
        self._loop = asyncio.get_running_loop()
        self.held_max = max(1, mempool.limits.transactions_max // SHARE)
        self.held = 0
        """Rows that are held now."""
        self.refused = 0
        """Rows refused since the start."""

    @property
    def is_full(self) -> bool:
        """Whether not one more is held: then what cannot pay is not worth the check of its signature."""
        return self.held >= self.held_max

    def judge(self, item: Slice) -> tuple[Mask, Mask]:
        """Rows whose sender cannot pay, and rows whose nonce is too far. One that the mempool knows may have
        had what it lacks: it is no newcomer."""
        judged = self._lookups.judge(item.records)
        unpaid, far = judged == Status.FEE_UNPAYABLE, judged == Status.NONCE_FAR
        if unpaid.any() or far.any():
            is_new = self._mempool.status(item.ids) == Presence.UNKNOWN
            unpaid, far = unpaid & is_new, far & is_new
        return unpaid, far

    async def comes_near(self, item: Slice) -> bool:
        """Wait until one of these nonces is not too far any more, but no longer than one is held."""
        until_s = self._loop.time() + self._hold_s
        while (left_s := until_s - self._loop.time()) > 0:
            await asyncio.wait([self._progress()], timeout=left_s)
            if not self.judge(item)[1].all():
                return True
        return False

    async def hold(self, item: Slice, admit: Callable[[Slice], Awaitable[None]]) -> Words:
        """Hold rows that cannot pay, and admit those that can before it is too late. Returns the rows of the
        others, by their numbers."""
        room = max(0, self.held_max - self.held)
        refused, item = item.rows[room:], item.kept(np.arange(len(item.rows)) < room)
        count = len(item.rows)
        self.held += count
        try:
            until_s = self._loop.time() + self._hold_s
            while len(item.rows) and (left_s := until_s - self._loop.time()) > 0:
                await asyncio.wait([self._progress()], timeout=left_s)
                unpaid, _ = self.judge(item)
                if not unpaid.all():
                    funded, item = item.kept(~unpaid), item.kept(unpaid)
                    await admit(funded)
        finally:
            self.held -= count
        late = np.concatenate([item.rows, refused])
        self.refused += len(late)
        return late
