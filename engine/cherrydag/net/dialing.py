"""Whom to dial when: every wanted peer without a connection, again and again, less and less often."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from cherrydag.net.addresses import Place
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
    """A peer that we want, and where it may listen: after a failure the next place has its turn."""

    key: PublicKey
    places: tuple[Place, ...]
    turn: int = 0
    failures: int = 0
    next_ms: int = 0
    is_busy: bool = False
    opened_ms: int | None = None

    @property
    def place(self) -> Place:
        """Whose turn it is."""
        return self.places[self.turn % len(self.places)]


class Dialer:
    """The wanted peers and when each is due. chance: seeded, so that nodes do not dial in step."""

    def __init__(self, chance: Random, limits: DialLimits | None = None) -> None:
        self._limits = limits or DialLimits()
        self._chance = chance
        self.targets: dict[PublicKey, Target] = {}

    def want(self, key: PublicKey, places: Sequence[Place]) -> None:
        """Dial this peer from now on, at one of these places; at other ones than before it is dialled at
        once. places: not empty."""
        wanted = tuple(places)
        known = self.targets.get(key)
        if known is None:
            self.targets[key] = Target(key, wanted)
        elif known.places != wanted:
            known.places, known.turn, known.failures, known.next_ms = wanted, 0, 0, 0

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
        was_dialled = target.is_busy
        target.is_busy, target.opened_ms = False, None
        # The exponent is bounded, so that neither is the pause's number.
        pause_ms = limits.pause_max_ms
        if not is_final:
            pause_ms = min(pause_ms, limits.pause_ms << min(target.failures, 30))
        target.failures += 1
        target.turn += was_dialled
        target.next_ms = now_ms + pause_ms - self._chance.randrange(pause_ms // 2 + 1)
