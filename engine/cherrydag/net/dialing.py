"""Whom to dial when: every wanted peer without a connection, again and again, less and less often."""

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from cherrydag.primitives import PublicKey


class DialLimits(NamedTuple):
    """Bounds of dialling.

    pause_ms: after the first failure, doubling up to pause_max_ms; a part of it, up to a half, is chance.
    steady_ms: a connection that lasted so long was a good one. dials_max: under way at once.
    """

    pause_ms: int = 250
    pause_max_ms: int = 30_000
    steady_ms: int = 10_000
    dials_max: int = 32


@dataclass(slots=True)
class Target:
    """A peer that we want: its key, and the host and port where it listens."""

    key: PublicKey
    host: str
    port: int
    failures: int = 0
    next_ms: int = 0
    is_busy: bool = False
    opened_ms: int | None = None


class Dialer:
    """The wanted peers and when each is due. chance: seeded, so that nodes do not dial in step."""

    def __init__(self, chance: Random, limits: DialLimits | None = None) -> None:
        self._limits = limits or DialLimits()
        self._chance = chance
        self.targets: dict[PublicKey, Target] = {}

    def want(self, key: PublicKey, host: str, port: int) -> None:
        """Dial this peer from now on; a new address is dialled at once."""
        known = self.targets.get(key)
        if known is None:
            self.targets[key] = Target(key, host, port)
        elif (known.host, known.port) != (host, port):
            known.host, known.port, known.failures, known.next_ms = host, port, 0, 0

    def forget(self, key: PublicKey) -> None:
        """Do not dial this peer any more."""
        self.targets.pop(key, None)

    def due(self, now_ms: int) -> list[Target]:
        """Whom to dial now, longest due first; each of them is then busy until it opens or fails."""
        busy = sum(target.is_busy for target in self.targets.values())
        idle = [
            t for t in self.targets.values() if not t.is_busy and t.opened_ms is None and now_ms >= t.next_ms
        ]
        chosen = sorted(idle, key=lambda target: (target.next_ms, target.key))
        chosen = chosen[: max(0, self._limits.dials_max - busy)]
        for target in chosen:
            target.is_busy = True
        return chosen

    def opened(self, key: PublicKey, now_ms: int) -> None:
        """There is a connection to this peer, whoever dialled it."""
        if (target := self.targets.get(key)) is not None:
            target.is_busy, target.opened_ms = False, now_ms

    def failed(self, key: PublicKey, now_ms: int, *, is_final: bool = False) -> None:
        """A dial failed, or the connection to this peer ended. is_final: to try again soon is in vain."""
        target = self.targets.get(key)
        if target is None:
            return
        limits = self._limits
        if target.opened_ms is not None and now_ms - target.opened_ms >= limits.steady_ms:
            target.failures = 0
        target.is_busy, target.opened_ms = False, None
        # The exponent is bounded, so that neither is the pause's number.
        pause_ms = limits.pause_max_ms
        if not is_final:
            pause_ms = min(pause_ms, limits.pause_ms << min(target.failures, 30))
        target.failures += 1
        target.next_ms = now_ms + pause_ms - self._chance.randrange(pause_ms // 2 + 1)
