"""A devnet whose nodes are apart: each in a network namespace of its own, and a delay between any two.

That is a matter of the run, not of the folder: flags tell each node where it and the validators are now.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from cherrydag.bench.netlab import LinkRule, NetLab
from cherrydag.devnet.folder import Devnet, DevnetNode


class Apart(NamedTuple):
    """devnet: with its nodes where they are. enter: puts a forked process to the node of that number."""

    devnet: Devnet
    enter: Callable[[int], None]


@contextmanager
def apart(devnet: Devnet, delay_ms: float) -> Iterator[Apart]:
    """Place the nodes: on this machine's loopback if there is no delay, else that far from each other, one
    way. netlab.Unsupported, saying what is missing, where that cannot be. Namespaces end with the block."""
    if not delay_ms:
        yield Apart(devnet, lambda _: None)
        return
    with NetLab(len(devnet.nodes)) as lab:
        lab.set_all(LinkRule(delay_ms=delay_ms))
        yield Apart(replace(devnet, placed=_placed(devnet, lab)), lab.enter)


def _placed(devnet: Devnet, lab: NetLab) -> tuple[DevnetNode, ...]:
    nodes = [
        node._replace(
            host=lab.address(number), api_host=lab.control_address(number), prefix=lab.prefix(number)
        )
        for number, node in enumerate(devnet.nodes)
    ]
    validators = zip(devnet.home.genesis.validators, nodes, strict=False)
    known = {node.name: f"{one.public_key.hex()}@{node.peers}" for one, node in validators}
    return tuple(node._replace(flags=_flags(node, known)) for node in nodes)


def _flags(node: DevnetNode, known: dict[str, str]) -> tuple[str, ...]:
    others = ",".join(text for name, text in known.items() if name != node.name)
    dialled = ("--set", f"peers.known={others}") if others else ()
    return ("--peers", node.peers, "--api", node.api, *dialled)
