"""Whether a node is alive, and whether it is of use: what load balancers and supervisors ask."""

import asyncio
from typing import Final, NamedTuple

from cherrydag.primitives import Stake
from cherrydag.rpc.histogram import LAG_S, Histogram
from cherrydag.runtime.node_runner import RunningNode
from cherrydag.runtime.opening import Running

BEAT_S: Final = 0.1
"""How often the event loop is asked how late it is."""


class Reason(NamedTuple):
    """Why a node is not ready. code: stopped, not_writable, recovering, behind, no_quorum, or one of those
    for which it takes no transactions: draining, safe_mode, diverged."""

    code: str
    text: str


class LoopLag:
    """How late the running event loop gets to things, from start() to stop()."""

    def __init__(self) -> None:
        self.lateness = Histogram(LAG_S)
        """Of all beats."""
        self._loop = asyncio.get_running_loop()
        self._due_s = 0.0
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._due_s = self._loop.time() + BEAT_S
        self._timer = self._loop.call_at(self._due_s, self._beat)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def lag_ms(self) -> int:
        """Of the last beat, or of the one that is due."""
        if self._timer is None:
            return 0
        return max(0, int(1000 * max(self._last_s, self._loop.time() - self._due_s)))

    def _beat(self) -> None:
        self._last_s = self._loop.time() - self._due_s
        self.lateness.observe(max(0.0, self._last_s))
        self.start()


def readiness(running: Running, node: RunningNode | None) -> list[Reason]:
    """What keeps a node from being of use to clients; nothing if it is ready."""
    host = running.host
    if host is None:
        return [Reason("stopped", "it has not begun")]
    if host.failure is not None:
        return [Reason("stopped", f"{type(host.failure).__name__}: {host.failure}")]
    reasons = [Reason(code, words) for code, words in running.refusals.items()]
    if running.freeze is not None:
        return reasons
    no_room, failure = running.no_room, running.store.failure
    if no_room is not None:
        reasons.append(Reason("not_writable", str(no_room)))
    elif failure is not None:
        reasons.append(Reason("not_writable", f"the store does not take {failure.what}: {failure.words}"))
    engine = host.node.engine
    if not engine.is_recovered:
        reasons.append(Reason("recovering", "others have not told enough of what this validator has signed"))
    if engine.is_behind:
        reasons.append(Reason("behind", "it fetches commits that others have"))
    linked, quorum = linked_stake(running, node)
    if linked < quorum:
        reasons.append(Reason("no_quorum", f"linked with a stake of {linked}, a quorum is {quorum}"))
    return reasons


def linked_stake(running: Running, node: RunningNode | None) -> tuple[Stake, Stake]:
    """The stake of the validators that a node is linked with, its own included, and that of a quorum."""
    committee = running.service.rules.committee
    linked = [] if node is None else node.linked_validators
    me = None if running.host is None else running.host.node.me
    own = [] if me is None else [me]
    return committee.stake_of([*own, *linked]), committee.quorum
