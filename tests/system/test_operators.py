"""Four validators, an operator, and an observer that knows the operator alone at first, over TLS."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import PATIENCE_S, until

from cherrydag.address import address_of
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import Rejected, StorageError
from cherrydag.execution.accounts import Status
from cherrydag.execution.bonds import BOND_MIN, QUOTA_UNIT, BondKind, encode_bond, possession_digest
from cherrydag.genesis import LedgerParams
from cherrydag.keystore import Keystore
from cherrydag.ledger import AsyncLedger
from cherrydag.primitives import PublicKey, TimestampMs
from cherrydag.runtime.home import KEYS, SIGN_STATE, TREASURY, VALIDATOR, Home, complete, create_network
from cherrydag.runtime.node_runner import NetworkOptions, RunningNode, start_node
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import KeyPair, generate_keypair, sign_digest
from cherrydag.storage.values import StoreOptions
from cherrydag.vertex import OperatorVertex

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)
OPERATOR, OBSERVER = 4, 5


class Net:
    """Nodes by number: validators 0 to 3, the operator, the observer."""

    def __init__(self, folder: Path) -> None:
        self.homes = create_network(
            folder / "net",
            [""] * 4,
            created_ms=TimestampMs(1_700_000_000_000),
            modules=["bonds"],
            chain_params=ChainParams(checkpoint_commits=10),
            ledger_params=LedgerParams(tree_depth=10),
        )
        genesis = self.homes[0].genesis
        for name in ("operator", "observer"):
            home = Home(folder / name, genesis)
            home.folder.mkdir(mode=0o700)
            key = Keystore(home.folder / KEYS).create(VALIDATOR, None)
            complete(home, key.public_key if name == "operator" else None)
            self.homes.append(home)
        self.nodes: dict[int, RunningNode] = {}
        self.treasury = self.homes[0].key(TREASURY)

    def key(self, number: int) -> KeyPair:
        return self.homes[number].key(VALIDATOR)

    async def start(self, number: int, *peers: int) -> None:
        known: dict[PublicKey, tuple[str, int]] = {
            self.key(peer).public_key: ("127.0.0.1", self.nodes[peer].peers.transport.port)
            for peer in peers
            if peer in self.nodes
        }
        options = replace(OPTIONS, issues=number == OPERATOR)
        self.nodes[number] = await start_node(self.homes[number], NetworkOptions(known=known), options)

    async def start_all(self) -> None:
        for number in range(4):
            await self.start(number, *range(number))
        await self.start(OPERATOR, 0, 1, 2, 3)
        await self.start(OBSERVER, OPERATOR)
        await until(lambda: all(len(self.nodes[n].linked_validators) == 3 for n in range(4)))
        await until(lambda: len(self.nodes[OPERATOR].linked_validators) == 4)
        await until(lambda: self.nodes[OBSERVER].peers.links)  # it finds the others in its own time

    async def stop(self, number: int) -> None:
        await self.nodes.pop(number).close()

    def ledger(self, number: int) -> AsyncLedger:
        return AsyncLedger(self.nodes[number].ledger)

    async def bond(self, amount: int = BOND_MIN) -> None:
        owner, key = self.treasury, self.key(OPERATOR)
        possession = sign_digest(possession_digest(key.public_key, address_of(owner.public_key)), key)
        body = encode_bond(key.public_key, possession)
        sent = await self.ledger(0).operate(owner, BondKind.BOND, body, amount=amount)
        done = await asyncio.wait_for(sent, PATIENCE_S)
        assert done.statuses.tolist() == [Status.APPLIED]
        await until(lambda: all(self.quota(number) is not None for number in self.nodes))

    def quota(self, number: int) -> int | None:
        door = self.nodes[number].ledger.host.node.engine.acceptance._door
        return door._quotas.get(self.key(OPERATOR).public_key)

    def issued(self) -> list[OperatorVertex]:
        """The operator's vertices in the chain, as the first validator has it."""
        store = self.nodes[0].ledger.store
        commits = store.commits(1, self.nodes[0].ledger.books.commit_index)
        refs = [ref for commit in commits for ref in commit.vertices]
        return [vertex for vertex in store.vertices(refs) if isinstance(vertex, OperatorVertex)]


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    net = Net(tmp_path)
    await net.start_all()
    yield net
    for number in list(net.nodes):
        await net.stop(number)


async def test_a_transfer_through_an_operator_is_final_at_all(net: Net) -> None:
    await net.bond()
    assert [net.quota(number) for number in net.nodes] == [QUOTA_UNIT] * 6
    sent = await asyncio.wait_for(await net.ledger(OPERATOR).transfer(net.treasury, BOB, 5), PATIENCE_S)
    assert sent.statuses.tolist() == [Status.APPLIED]
    await until(lambda: all(net.ledger(number).balance(BOB) == 5 for number in net.nodes))
    last = min(node.ledger.books.commit_index for node in net.nodes.values())
    chains = [[commit.digest for commit in node.ledger.store.commits(1, last)] for node in net.nodes.values()]
    assert chains[0] and all(chain == chains[0] for chain in chains)
    assert [vertex.seq for vertex in net.issued()] == [0]


async def test_an_operator_that_was_stopped_goes_on_with_the_next_seq(net: Net) -> None:
    await net.bond()
    for amount in (1, 2):
        await asyncio.wait_for(await net.ledger(OPERATOR).transfer(net.treasury, BOB, amount), PATIENCE_S)
    await net.stop(OPERATOR)
    await asyncio.wait_for(await net.ledger(0).transfer(net.treasury, BOB, 4), PATIENCE_S)
    await net.start(OPERATOR, 0, 1, 2, 3)
    await until(lambda: net.ledger(OPERATOR).balance(BOB) == 7)
    await asyncio.wait_for(await net.ledger(OPERATOR).transfer(net.treasury, BOB, 8), PATIENCE_S)
    await until(lambda: all(net.ledger(number).balance(BOB) == 15 for number in range(5)))
    vertices = net.issued()
    assert [vertex.seq for vertex in vertices] == [0, 1, 2]
    assert [vertex.parents[0] for vertex in vertices[1:]] == [vertex.ref for vertex in vertices[:-1]]


async def test_who_has_no_bond_or_only_follows_is_told_so(net: Net) -> None:
    with pytest.raises(Rejected, match="no active bond") as unbonded:
        await net.ledger(OPERATOR).transfer(net.treasury, BOB, 5)
    assert unbonded.value.code == "operator_unbonded"
    with pytest.raises(Rejected, match="submit to a validator or an operator") as follower:
        await net.ledger(OBSERVER).transfer(net.treasury, BOB, 5)
    assert follower.value.code == "node_issues_nothing"
    sent = await asyncio.wait_for(await net.ledger(1).transfer(net.treasury, BOB, 5), PATIENCE_S)
    assert sent.statuses.tolist() == [Status.APPLIED]
    await until(lambda: net.ledger(OBSERVER).balance(BOB) == 5)


async def test_an_operator_without_its_sign_state_does_not_start(net: Net) -> None:
    await net.stop(OPERATOR)
    (net.homes[OPERATOR].folder / SIGN_STATE).unlink()
    with pytest.raises(StorageError, match="is missing"):
        await net.start(OPERATOR, 0)
