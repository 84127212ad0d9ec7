"""The network between the seats of a world: delays, streams in order, and everything that spoils them.

A seat is a node's dense number: validators first, then operators and observers. Each directed link is a
stream: what arrives keeps its order, unless reordering is on. A message that meets a cut link is lost.
"""

from dataclasses import dataclass, field
from typing import Final

from cherrydag.sim.chance import Chance

REGIONS: Final = (
    "Dallas",
    "Toronto",
    "Washington",
    "Frankfurt",
    "London",
    "Madrid",
    "Osaka",
    "Sydney",
    "Tokyo",
    "Sao Paulo",
)

# Round trips in ms between the regions above, row by row to the right of the diagonal: the averages that IBM
# Cloud published for 21 September to 20 October 2024 (docs of its VPC, "network latency", inter-region).
_ROUND_TRIPS_MS: Final = (
    (34, 31, 123, 113, 118, 150, 184, 142, 144),
    (18, 93, 84, 109, 168, 215, 162, 132),
    (91, 76, 88, 174, 214, 169, 118),
    (13, 29, 232, 250, 230, 197),
    (27, 244, 261, 242, 187),
    (256, 275, 256, 208),
    (122, 9, 291),
    (115, 329),
    (283,),
)
_WITHIN_REGION_US: Final = 1_000  # half of the 2 ms between zones that the same page gives

LAN_US: Final = 500
"""One way between any two seats of a lan, before jitter."""

LOST: Final = -1
"""Arrival time of what never arrives."""


def wan_one_way_us(source: int, target: int) -> int:
    """Half of the round trip between two regions, by their places in REGIONS, in microseconds."""
    low, high = sorted((source, target))
    return _ROUND_TRIPS_MS[low][high - low - 1] * 500 if low < high else _WITHIN_REGION_US


@dataclass(slots=True)
class Trouble:
    """What is wrong with the network at the moment. Rates in permille of messages.

    reorder_us: each message may be late by up to this, and streams keep no order. cut: links that carry
    nothing, as (source, target). slow_us: links that take this much longer. leader_us: how much later the
    vertex of a round's leader reaches others.
    """

    loss: int = 0
    duplicate: int = 0
    reorder_us: int = 0
    cut: set[tuple[int, int]] = field(default_factory=set)
    slow_us: dict[tuple[int, int], int] = field(default_factory=dict)
    leader_us: int = 0


class Network:
    """When messages arrive. jitter_permille: of the link's delay, on top of it."""

    __slots__ = ("_chance", "_delay_us", "_jitter", "_last_us", "lasting_loss", "trouble")

    def __init__(self, seats: int, chance: Chance, *, wan: bool = False, lasting_loss: int = 0) -> None:
        self._chance = chance
        self._delay_us = [[_one_way_us(s, t, wan=wan) for t in range(seats)] for s in range(seats)]
        self._jitter = [[max(1, us // (10 if wan else 1)) for us in row] for row in self._delay_us]
        self._last_us = [[0] * seats for _ in range(seats)]
        self.lasting_loss = lasting_loss
        self.trouble: Trouble | None = None

    @property
    def delay_max_us(self) -> int:
        """No message takes longer while there is no trouble."""
        pairs = zip(self._delay_us, self._jitter, strict=True)
        return max(max(map(sum, zip(row, jitter, strict=True))) for row, jitter in pairs)

    def arrival(self, source: int, target: int, now_us: int) -> int:
        """When a message sent now arrives on a good network, or LOST by the lasting loss."""
        if self.lasting_loss and self._chance.is_hit(self.lasting_loss):
            return LOST
        at_us = now_us + self._delay_us[source][target]
        at_us += int(self._chance.random() * self._jitter[source][target])
        last = self._last_us[source]
        if at_us < last[target]:
            at_us = last[target]
        last[target] = at_us
        return at_us

    def arrivals(self, source: int, target: int, now_us: int, *, of_leader: bool) -> list[int]:
        """When a message sent now arrives, given the trouble: never, once or twice."""
        trouble, chance = self.trouble, self._chance
        if trouble is None:
            at_us = self.arrival(source, target, now_us)
            return [] if at_us == LOST else [at_us]
        if (source, target) in trouble.cut or chance.is_hit(max(trouble.loss, self.lasting_loss)):
            return []
        late_us = trouble.slow_us.get((source, target), 0)
        if of_leader:
            late_us += trouble.leader_us
        found = []
        for _ in range(2 if chance.is_hit(trouble.duplicate) else 1):
            at_us = now_us + late_us + self._delay_us[source][target]
            at_us += int(chance.random() * self._jitter[source][target])
            if trouble.reorder_us:
                at_us += chance.below(trouble.reorder_us)
            elif not of_leader:
                at_us = self._last_us[source][target] = max(at_us, self._last_us[source][target])
            found.append(at_us)
        return found


def _one_way_us(source: int, target: int, *, wan: bool) -> int:
    return wan_one_way_us(source % len(REGIONS), target % len(REGIONS)) if wan else LAN_US
