"""What a world suffers, drawn from its seed: which seats fail, when, and how the network is spoiled.

All of it ends at one moment, after which the network is good (GST): then rounds must grow again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from cherrydag.committee import Committee
from cherrydag.consensus.main_chain import GC_DEPTH_MIN, ChainParams
from cherrydag.consensus.timing import Timing
from cherrydag.sim.chance import Chance
from cherrydag.sim.clock import DAY_MS, SECOND_US
from cherrydag.sim.network import Trouble
from cherrydag.sim.scenario import (
    NETWORK_ADVERSARIES,
    OPERATOR_ADVERSARIES,
    VALIDATOR_ADVERSARIES,
    Scenario,
)

if TYPE_CHECKING:
    from cherrydag.sim.world import World

ROUND_US: Final = 60_000
"""About what a round of a good lan takes."""

Deed: TypeAlias = Callable[["World"], None]


@dataclass(slots=True)
class Plan:
    """Everything drawn before a world starts.

    cast: adversary of each Byzantine validator. crashed: validators that never start. ahead:
    those whose clock is far ahead for a while, of which no liveness is asked. good_us: when the
    network becomes good. last_us: when the world ends at the latest. deeds: what happens when.
    suffered: how many of each fault there will be.
    """

    chain: ChainParams
    timing: Timing
    good_us: int
    last_us: int
    cast: dict[int, str] = field(default_factory=dict)
    crashed: tuple[int, ...] = ()
    ahead: set[int] = field(default_factory=set)
    skew_us: dict[int, int] = field(default_factory=dict)
    trouble: Trouble | None = None
    deeds: list[tuple[int, Deed]] = field(default_factory=list)
    suffered: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, at_us: int, deed: Deed) -> None:
        """One more fault of this name."""
        self.suffer(name)
        self.deeds.append((at_us, deed))

    def suffer(self, name: str) -> None:
        """Count a fault."""
        self.suffered[name] = self.suffered.get(name, 0) + 1


def draw_plan(scenario: Scenario, committee: Committee) -> Plan:
    """The plan of a scenario. Honest seats alone crash, pause and have their clocks set."""
    chance = Chance.of(scenario.seed, "rules")
    spoiled = bool(scenario.faults) or "leader_delay" in scenario.adversaries
    share = chance.between(300, 600)
    good_us = scenario.rounds * ROUND_US * share // 1000 if spoiled else SECOND_US
    slow = 20 if scenario.wan else 8  # a round that waits for its leader takes a quarter of a second
    plan = Plan(
        chain=_draw_chain(scenario, chance),
        timing=_draw_timing(scenario, chance),
        good_us=good_us,
        last_us=good_us + scenario.rounds * ROUND_US * slow + 60 * SECOND_US,
    )
    _draw_cast(scenario, committee, plan, Chance.of(scenario.seed, "cast"))
    honest = [seat for seat in range(scenario.validators) if _lives(plan, seat)]
    trouble = Trouble()
    stakes = [int(member.stake) for member in committee.members]
    spare = int(committee.faulty) - sum(stake for seat, stake in enumerate(stakes) if seat not in honest)
    for name in scenario.faults:  # each has its own draws, so that one can be left out
        chance = Chance.of(scenario.seed, name)
        _DRAW[name](_Draw(plan, trouble, honest, stakes, spare, good_us, chance))
    for name in scenario.adversaries:
        if name in NETWORK_ADVERSARIES:
            trouble.leader_us = Chance.of(scenario.seed, name).between(100_000, 800_000)
            plan.suffer(name)
    if any(name in scenario.faults for name in _SPOIL) or trouble.leader_us:
        plan.trouble = trouble
    return plan


def _lives(plan: Plan, seat: int) -> bool:
    return seat not in plan.cast and seat not in plan.crashed


def _draw_cast(scenario: Scenario, committee: Committee, plan: Plan, chance: Chance) -> None:
    """Byzantine and crashed seats, together of at most f stake whatever each one's stake is."""
    kinds = [name for name in scenario.adversaries if name in VALIDATOR_ADVERSARIES]
    order = list(range(scenario.validators))
    chance.shuffle(order)
    left = int(committee.faulty)
    crashed: list[int] = []
    for seat in order:
        stake = committee.members[seat].stake
        if stake > left:
            continue
        if len(plan.cast) < scenario.byzantine and kinds:
            plan.cast[seat] = chance.pick(kinds)
            plan.suffer(plan.cast[seat])
        elif len(crashed) < scenario.crashed:
            crashed.append(seat)
        else:
            break
        left -= stake
    plan.crashed = tuple(crashed)
    rogues = [name for name in scenario.adversaries if name in OPERATOR_ADVERSARIES]
    for number in range(scenario.operators):
        if rogues and (chance.is_hit(500) or scenario.operators == 1):
            seat = scenario.validators + number
            plan.cast[seat] = chance.pick(rogues)
            plan.suffer(plan.cast[seat])


def _draw_chain(scenario: Scenario, chance: Chance) -> ChainParams:
    """Rules: short periods of scoring, so that tables change; a window near its minimum under `limits`."""
    limits = "limits" in scenario.faults
    return ChainParams(
        gc_depth=chance.between(GC_DEPTH_MIN, 8) if limits else chance.pick((30, 60)),
        scoring_commits=chance.pick((7, 20, 40, 300)),
        swap_share_permille=chance.pick((0, 200, 333)),
        checkpoint_commits=chance.pick((5, 20, 1000)),
    )


def _draw_timing(scenario: Scenario, chance: Chance) -> Timing:
    if "limits" not in scenario.faults:
        return Timing()
    n = scenario.validators
    return Timing(
        pending_max=chance.between(16 * n, 32 * n),
        pending_peer_max=chance.between(8 * n, 16 * n),
        missing_max=chance.between(16 * n, 32 * n),
        early_peer_max=chance.between(1, 3),
        round_ahead_max=chance.between(250, 300),  # who lags by less fetches vertices, by more commits
        unreferenced_max=chance.between(5, 8),
    )


class _Draw(NamedTuple):
    """What a fault is drawn from, and into.

    honest: seats that may fail. stakes: of all validators. spare: stake of f that no faulty validator has.
    """

    plan: Plan
    trouble: Trouble
    honest: Sequence[int]
    stakes: Sequence[int]
    spare: int
    good_us: int
    chance: Chance


# Faults of the network


def _loss(draw: _Draw) -> None:
    draw.trouble.loss = draw.chance.pick((10, 20, 50, 150))
    draw.plan.suffer("loss")


def _duplicate(draw: _Draw) -> None:
    draw.trouble.duplicate = draw.chance.pick((20, 100, 300))
    draw.plan.suffer("duplicate")


def _reorder(draw: _Draw) -> None:
    draw.trouble.reorder_us = draw.chance.pick((5_000, 40_000, 200_000))
    draw.plan.suffer("reorder")


def _partition(draw: _Draw) -> None:
    for _ in range(draw.chance.between(1, 2)):
        start_us = draw.chance.below(draw.good_us * 3 // 4)
        end_us = start_us + draw.chance.between(SECOND_US // 5, draw.good_us // 2)
        _split(draw.plan, "partition", start_us, end_us, draw.chance, breaks=draw.chance.is_hit(500))


def _flap(draw: _Draw) -> None:
    start_us, pace_us = draw.chance.below(draw.good_us // 2), draw.chance.between(60_000, 400_000)
    for number in range(draw.chance.between(4, 10)):
        at_us = start_us + number * 2 * pace_us
        _split(draw.plan, "flap", at_us, at_us + pace_us, draw.chance, breaks=draw.chance.is_hit(500))


def _asymmetric(draw: _Draw) -> None:
    for _ in range(draw.chance.between(1, 3)):
        start_us = draw.chance.below(draw.good_us * 3 // 4)
        end_us = start_us + draw.chance.between(SECOND_US // 5, draw.good_us // 2)
        _split(draw.plan, "asymmetric", start_us, end_us, draw.chance, breaks=False, one_way=True)


def _split(
    plan: Plan, name: str, start_us: int, end_us: int, chance: Chance, *, breaks: bool, one_way: bool = False
) -> None:
    """Cut the links between two drawn halves for a while; breaks: connections notice."""
    seed = chance.getrandbits(32)

    def sides(world: "World") -> tuple[list[int], list[int]]:
        drawn = Chance(seed)
        one = [seat for seat in range(world.seats) if drawn.is_hit(500)]
        return one, [seat for seat in range(world.seats) if seat not in one]

    def begin(world: "World") -> None:
        one, other = sides(world)
        trouble = world.network.trouble
        if trouble is None:
            return
        trouble.cut |= {(a, b) for a in one for b in other}
        if not one_way:
            trouble.cut |= {(b, a) for a in one for b in other}
        if breaks:
            for a in one:
                for b in other:
                    world.unlink(a, b)

    def end(world: "World") -> None:
        if world.network.trouble is None:
            return
        world.network.trouble.cut.clear()
        for seat in range(world.scenario.validators):
            world.link_all(seat)

    plan.add(name, start_us, begin)
    plan.deeds.append((end_us, end))


# Faults of nodes


def _crash(draw: _Draw) -> None:
    for seat in draw.honest:
        for _ in range(draw.chance.pick((0, 1, 1, 3))):
            at_us = draw.chance.below(draw.good_us)
            down_us = draw.chance.pick((1_000, 50_000, 500_000, draw.good_us // 2))
            draw.plan.add("crash", at_us, lambda world, seat=seat: world.hosts[seat].crash())  # type: ignore[misc]
            draw.plan.deeds.append(
                (at_us + down_us, lambda world, seat=seat: world.hosts[seat].restart())  # type: ignore[misc]
            )


def _blackout(draw: _Draw) -> None:
    """The power fails for all at one moment: what any of them has signed and not written is gone for good."""
    at_us = draw.chance.below(draw.good_us)
    draw.plan.suffer("blackout")
    for seat in draw.honest:
        back_us = at_us + draw.chance.between(1_000, 300_000)
        draw.plan.deeds.append((at_us, lambda world, seat=seat: world.hosts[seat].crash()))  # type: ignore[misc]
        draw.plan.deeds.append(
            (back_us, lambda world, seat=seat: world.hosts[seat].restart())  # type: ignore[misc]
        )


def _pause(draw: _Draw) -> None:
    for seat in draw.honest:
        if draw.chance.is_hit(500):
            at_us, for_us = draw.chance.below(draw.good_us), draw.chance.pick((20_000, 300_000, 2_000_000))
            draw.plan.add("pause", at_us, lambda world, seat=seat: world.hosts[seat].pause())  # type: ignore[misc]
            draw.plan.deeds.append(
                (at_us + for_us, lambda world, seat=seat: world.hosts[seat].go_on())  # type: ignore[misc]
            )


def _clock(draw: _Draw) -> None:
    """Skew for all, steps for some.

    Who signs timestamps that others refuse counts as faulty: far steps ahead stay within what is left of f.
    """
    left = draw.spare
    for seat in draw.honest:
        draw.plan.skew_us[seat] = draw.chance.between(-200_000, 200_000)
        if not draw.chance.is_hit(300):
            continue
        by_ms = draw.chance.pick((1_000, 60_000, 300_000, DAY_MS)) * draw.chance.pick((-1, 1))
        stake = draw.stakes[seat]
        if by_ms > 0 and stake > left:
            by_ms = 200
        elif by_ms > 0:
            left -= stake
            draw.plan.ahead.add(seat)
        _set_clock(draw.plan, seat, by_ms, draw.chance.below(draw.good_us))


def _set_clock(plan: Plan, seat: int, by_ms: int, at_us: int) -> None:
    def deed(world: "World") -> None:
        world.hosts[seat].clock.step(by_ms)
        world.hosts[seat].reset_clock()

    plan.add("clock", at_us, deed)


def _limits(draw: _Draw) -> None:
    draw.plan.suffer("limits")


_SPOIL: Final = ("loss", "duplicate", "reorder", "partition", "flap", "asymmetric")

_DRAW: Final = {
    "loss": _loss,
    "duplicate": _duplicate,
    "reorder": _reorder,
    "partition": _partition,
    "flap": _flap,
    "asymmetric": _asymmetric,
    "crash": _crash,
    "blackout": _blackout,
    "clock": _clock,
    "limits": _limits,
    "pause": _pause,
}
