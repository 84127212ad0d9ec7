"""A node among 1,000 of an attacker's, in virtual time: whom it is linked with after each restart."""

import pytest
from eclipse_world import BEGIN_MS, Victim, World

from cherrydag.signing import generate_keypair

RUN_MS = 200_000
RESTARTS = 2
OUTBOUND = 8
VALIDATORS = 10
KEY = generate_keypair(b"\x09" * 32)


def runs(seed: int, groups: int) -> list[Victim]:
    """A first start with one honest seed, then restarts from what each run left on disk."""
    world = World.of(seed, honest=200, sybils=1000, groups=groups, validators=VALIDATORS, dead=2000)
    made = [Victim(world, KEY, None, seeds=world.honest[:1])]
    made[0].run(RUN_MS, BEGIN_MS)
    for number in range(1, RESTARTS + 1):
        made.append(Victim(world, KEY, made[-1].file()))
        made[-1].run(RUN_MS, BEGIN_MS + number * RUN_MS)
    return made


@pytest.mark.parametrize("seed", range(2))
def test_1000_sybils_in_four_networks_get_four_of_eight_links_at_most(seed: int) -> None:
    for run in runs(seed, groups=4):
        assert run.linked_validators == VALIDATORS
        assert len(run.outbound) == OUTBOUND
        assert run.honest_outbound >= OUTBOUND - 4


@pytest.mark.parametrize("seed", range(2))
def test_1000_sybils_in_sixteen_networks_do_not_get_all_links(seed: int) -> None:
    found = runs(seed, groups=16)
    assert [run.linked_validators for run in found] == [VALIDATORS] * len(found)
    assert min(run.honest_outbound for run in found) >= 1
    assert sum(run.honest_outbound for run in found) >= 2 * len(found)


def test_who_fills_the_book_first_does_not_keep_a_fresh_node_from_its_seed() -> None:
    """The attacker is there before anyone was dialled, and announces more than a poor book would hold."""
    world = World.of(7, honest=50, sybils=1000, groups=64, validators=VALIDATORS, dead=500)
    victim = Victim(world, KEY, None, seeds=world.honest[:1])
    victim.run(60_000, BEGIN_MS)
    assert victim.linked_validators == VALIDATORS
