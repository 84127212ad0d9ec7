"""Four validators in one process, over real TLS sockets and real disks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from waiting import PATIENCE_S, until

from cherrydag.address import address_of
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.execution.accounts import Status
from cherrydag.genesis import LedgerParams
from cherrydag.ledger import AsyncLedger
from cherrydag.primitives import PublicKey, TimestampMs
from cherrydag.runtime.home import TREASURY, Home, create_network
from cherrydag.runtime.node_runner import NetworkOptions, RunningNode, start_node
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import generate_keypair
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)


class Net:
    """Nodes by number; a stopped one can be started again at another port."""

    def __init__(self, homes: list[Home]) -> None:
        self.homes = homes
        self.nodes: dict[int, RunningNode] = {}

    async def start(self, number: int) -> RunningNode:
        known: dict[PublicKey, tuple[str, int]] = {
            self.homes[other].genesis.validators[other].public_key: ("127.0.0.1", node.peers.transport.port)
            for other, node in self.nodes.items()
        }
        node = await start_node(self.homes[number], NetworkOptions(known=known), OPTIONS)
        self.nodes[number] = node
        return node

    async def stop(self, number: int) -> None:
        await self.nodes.pop(number).close()

    def ledger(self, number: int) -> AsyncLedger:
        return AsyncLedger(self.nodes[number].ledger)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    homes = create_network(
        tmp_path / "net",
        [""] * 4,
        created_ms=TimestampMs(1_700_000_000_000),
        chain_params=ChainParams(checkpoint_commits=10),
        ledger_params=LedgerParams(tree_depth=10),
    )
    net = Net(homes)
    for number in range(4):
        await net.start(number)
    await until(lambda: all(len(node.linked_validators) == 3 for node in net.nodes.values()))
    yield net
    for number in list(net.nodes):
        await net.stop(number)


async def test_a_transfer_through_one_is_final_at_all_with_the_same_chain(net: Net) -> None:
    treasury = net.homes[0].key(TREASURY)
    sent = await asyncio.wait_for(await net.ledger(0).transfer(treasury, BOB, 5), PATIENCE_S)
    assert sent.statuses.tolist() == [Status.APPLIED]
    await until(lambda: all(net.ledger(i).balance(BOB) == 5 for i in range(4)))
    last = min(node.ledger.books.commit_index for node in net.nodes.values())
    chains = [[commit.digest for commit in node.ledger.store.commits(1, last)] for node in net.nodes.values()]
    assert chains[0] and all(chain == chains[0] for chain in chains)
    await until(lambda: all(node.ledger.host.certificate is not None for node in net.nodes.values()))
    assert all(node.ledger.host.diverged is None for node in net.nodes.values())


async def test_one_transaction_at_two_validators_counts_once(net: Net) -> None:
    treasury = net.homes[0].key(TREASURY)
    first = await net.ledger(0).transfer(treasury, BOB, 7, nonce=0)
    again = await net.ledger(1).transfer(treasury, BOB, 7, nonce=0)
    assert first.id() == again.id()
    done = await asyncio.gather(asyncio.wait_for(first, PATIENCE_S), asyncio.wait_for(again, PATIENCE_S))
    assert [one.statuses.tolist() for one in done] == [[Status.APPLIED]] * 2
    assert done[0].places.tolist() == done[1].places.tolist()
    await until(lambda: all(net.ledger(i).balance(BOB) == 7 for i in range(4)))


async def test_three_go_on_and_the_fourth_catches_up(net: Net) -> None:
    treasury = net.homes[0].key(TREASURY)
    await asyncio.wait_for(await net.ledger(0).transfer(treasury, BOB, 1), PATIENCE_S)
    await net.stop(3)
    for _ in range(3):
        await asyncio.wait_for(await net.ledger(0).transfer(treasury, BOB, 1), PATIENCE_S)
    await net.start(3)
    await until(lambda: net.ledger(3).balance(BOB) == 4)
    back = generate_keypair(b"\x05" * 32)
    await asyncio.wait_for(await net.ledger(0).transfer(treasury, back, 10), PATIENCE_S)
    await until(lambda: net.ledger(3).balance(back) == 10)
    through = await asyncio.wait_for(await net.ledger(3).transfer(back, BOB, 2), PATIENCE_S)
    assert through.statuses.tolist() == [Status.APPLIED]


async def test_all_of_them_can_be_stopped_and_started(net: Net) -> None:
    treasury = net.homes[0].key(TREASURY)
    await asyncio.wait_for(await net.ledger(0).transfer(treasury, BOB, 1), PATIENCE_S)
    for number in range(4):
        await net.stop(number)
    for number in range(4):
        await net.start(number)
    await until(lambda: all(len(node.linked_validators) == 3 for node in net.nodes.values()))
    await asyncio.wait_for(await net.ledger(0).transfer(treasury, BOB, 1), PATIENCE_S)
    await until(lambda: all(net.ledger(i).balance(BOB) == 2 for i in range(4)))
    line = net.ledger(2).account(address_of(treasury.public_key))
    assert line.next_nonce == 2
