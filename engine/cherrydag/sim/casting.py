"""Who sits where: honest nodes, adversaries and operators of a world, as its plan says."""

from typing import TYPE_CHECKING, Final

from cherrydag.node import NodeConfig
from cherrydag.primitives import ValidatorIndex
from cherrydag.sim.actor import Actor
from cherrydag.sim.adversaries import (
    Equivocator,
    Jumper,
    Malformed,
    ManyChains,
    Replayer,
    TimestampLiar,
)
from cherrydag.sim.host import Host
from cherrydag.sim.keys import MockSigner, mock_key
from cherrydag.sim.operators import QUOTA, ROGUES, Operator
from cherrydag.sim.puppets import SyncLiar, Twins, Withholder

if TYPE_CHECKING:
    from cherrydag.sim.world import World


def node_config(world: "World", seat: int) -> NodeConfig:
    """The settings of a seat's node."""
    me = ValidatorIndex(seat) if seat < world.scenario.validators else None
    return NodeConfig(
        rules=world.rules,
        me=me,
        chain=world.chain,
        timing=world.plan.timing,
        seed=mock_key(f"{world.scenario.seed}/{seat}")[:16],
    )


_ACTORS: Final = {
    "jumper": Jumper,
    "equivocator": Equivocator,
    "many_chains": ManyChains,
    "timestamps": TimestampLiar,
    "malformed": Malformed,
    "replayer": Replayer,
}
_PUPPETS: Final = {"twins": Twins, "withholder": Withholder, "sync_liar": SyncLiar}


def seat_all(world: "World") -> None:
    """Put somebody on every seat."""
    for seat in range(world.scenario.validators):
        world.hosts.append(_validator(world, seat))
    for seat in range(world.scenario.validators, world.seats):
        world.hosts.append(_operator(world, seat))
    for host in world.hosts:
        host.clock.offset_us = world.plan.skew_us.get(host.seat, 0)


def _validator(world: "World", seat: int) -> Host | Actor:
    signer = MockSigner(mock_key(f"validator {seat}"))
    role = world.plan.cast.get(seat, "honest")
    if role in _ACTORS:
        return _ACTORS[role](world, seat, signer)
    return _PUPPETS.get(role, Host)(world, seat, node_config(world, seat), signer)


def _operator(world: "World", seat: int) -> Host | Actor:
    """Every operator has a bond; strangers have none."""
    signer = MockSigner(mock_key(f"operator {seat}"))
    world.issuers.append((signer.public_key, 1 + seat % 3, QUOTA))
    role = world.plan.cast.get(seat, "honest")
    if role in ROGUES:
        return ROGUES[role](world, seat, signer)
    return Operator(world, seat, node_config(world, seat), signer)
