"""Clock, chance, network and keys of a world."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertices import CHAIN, EPOCH, refs, validator_vertex

from cherrydag.committee import Committee, Member
from cherrydag.consensus.ports import SignMark
from cherrydag.errors import ConfigError, InvariantViolation
from cherrydag.sim.chance import Chance
from cherrydag.sim.clock import EPOCH_MS, Clock, moment_us, monotonic_ms
from cherrydag.sim.devices import SignState
from cherrydag.sim.keys import MockSigner, Verifier, mock_key
from cherrydag.sim.network import REGIONS, Network, Trouble, wan_one_way_us
from cherrydag.sim.scenario import ADVERSARIES, FAULTS, Scenario
from cherrydag.verify import EpochRules, VertexFault


@given(st.integers(0, 10**12))
def test_the_monotonic_clock_says_when_it_will_show_a_time(now_us: int) -> None:
    shown_ms = monotonic_ms(now_us)
    at_us = moment_us(shown_ms)
    assert at_us <= now_us
    assert monotonic_ms(at_us) == shown_ms > monotonic_ms(at_us - 1)


def test_stepped_clock_shows_another_time() -> None:
    clock = Clock()
    clock.step(-1500)
    assert clock.read(2_000_000) == EPOCH_MS + 500


def test_chance_follows_from_seed_and_concern() -> None:
    def draws(seed: int, concern: str) -> list[int]:
        chance = Chance.of(seed, concern)
        return [chance.below(1000) for _ in range(8)]

    assert draws(1, "a") == draws(1, "a")
    assert len({tuple(draws(seed, concern)) for seed in (1, 2) for concern in "ab"}) == 4


def test_chance_stays_in_range() -> None:
    chance = Chance.of(1, "range")
    assert {chance.between(2, 4) for _ in range(100)} == {2, 3, 4}
    assert not any(chance.is_hit(0) for _ in range(100))
    assert all(chance.is_hit(1000) for _ in range(100))


def test_wan_delays_are_half_the_round_trips() -> None:
    dallas, toronto, tokyo, sao_paulo = (
        REGIONS.index(n) for n in ("Dallas", "Toronto", "Tokyo", "Sao Paulo")
    )
    assert wan_one_way_us(dallas, toronto) == 17_000
    assert wan_one_way_us(sao_paulo, tokyo) == wan_one_way_us(tokyo, sao_paulo) == 141_500
    assert wan_one_way_us(tokyo, tokyo) == 1_000


def network(trouble: Trouble | None = None, **options: object) -> Network:
    found = Network(4, Chance.of(1, "network"), **options)  # type: ignore[arg-type]
    found.trouble = trouble
    return found


def arrivals(net: Network, count: int = 200, *, source: int = 0, of_leader: bool = False) -> list[list[int]]:
    return [net.arrivals(source, 1, at_us, of_leader=of_leader) for at_us in range(0, 100 * count, 100)]


def test_good_network_keeps_order_and_loses_nothing() -> None:
    found = arrivals(network())
    times = [times[0] for times in found]
    assert all(len(times) == 1 for times in found)
    assert times == sorted(times)
    assert all(0 < at - 100 * number <= network().delay_max_us for number, at in enumerate(times))


def test_trouble_loses_repeats_and_reorders() -> None:
    lost = arrivals(network(Trouble(loss=300)))
    assert 20 < sum(1 for times in lost if not times) < 120
    repeated = arrivals(network(Trouble(duplicate=300)))
    assert 20 < sum(1 for times in repeated if len(times) == 2) < 120
    times = [times[0] for times in arrivals(network(Trouble(reorder_us=5000)))]
    assert times != sorted(times)


def test_cut_is_one_way_and_slow_links_and_leaders_are_late() -> None:
    net = network(Trouble(cut={(0, 1)}, slow_us={(2, 1): 9_000}, leader_us=50_000))
    assert not any(arrivals(net))
    assert all(times[0] - 100 * i >= 9_000 for i, times in enumerate(arrivals(net, source=2)))
    assert all(
        times[0] - 100 * i >= 50_000 for i, times in enumerate(arrivals(net, source=3, of_leader=True))
    )


def test_lasting_loss_needs_no_trouble() -> None:
    assert 20 < sum(1 for times in arrivals(network(lasting_loss=300)) if not times) < 120


def test_sign_mark_never_sinks_or_repeats() -> None:
    state = SignState()
    assert state.load() is None
    state.record(SignMark(3, bytes(32)))
    with pytest.raises(InvariantViolation, match="I4"):
        state.record(SignMark(3, bytes(32)))
    assert state.load() == SignMark(3, bytes(32))


def test_verifier_answers_by_vertex_and_not_by_digest_alone() -> None:
    keys = [mock_key(f"validator {seat}") for seat in range(4)]
    rules = EpochRules.of(CHAIN, Committee(EPOCH, tuple(Member(key, 1) for key in keys)))
    verifier = Verifier(rules)
    vertex = validator_vertex(ancestors=refs(4), signed=False)
    signed = replace(vertex, signature=MockSigner(keys[0]).sign(vertex.signing_digest(CHAIN)))
    assert verifier.faults((signed, signed)) == [None, None]
    assert verifier.checked == 1
    assert verifier.faults((vertex,)) == [VertexFault.SIGNATURE]
    short = replace(signed, ancestors=signed.ancestors[:1])
    assert verifier.faults((short,)) == [VertexFault.STRONG_STAKE]


@pytest.mark.parametrize(
    "change",
    [
        {"validators": 0},
        {"validators": 201},
        {"byzantine": 2},
        {"byzantine": 1, "crashed": 1},
        {"faults": ("rain",)},
        {"adversaries": ("nobody",)},
        {"rounds": 0},
        {"loss": 501},
    ],
)
def test_scenario_refuses(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(Scenario(seed=1), **change)  # type: ignore[arg-type]


def test_command_names_everything() -> None:
    scenario = Scenario(5, 7, 1, 1, FAULTS, ADVERSARIES, 2, 33, True, 10)
    for word in ("--seeds 5:6", "--validators 7", "--byzantine 1", "--crashed 1", "--operators 2", "--wan"):
        assert word in scenario.command
    assert "--rounds 33" in scenario.command
    assert "--loss 10" in scenario.command
