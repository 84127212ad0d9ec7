"""The API of validators in a network: links and quorum are told, and one node's answers hold at another."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from waiting import PATIENCE_S, until

from cherrydag.client import AsyncClient
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.execution.accounts import Status
from cherrydag.genesis import LedgerParams
from cherrydag.primitives import TimestampMs
from cherrydag.rpc.server import RpcServer
from cherrydag.runtime.home import TREASURY, create_network
from cherrydag.runtime.node_runner import NetworkOptions, start_node
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import generate_keypair
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)
COUNT = 4


@pytest.fixture
async def net(tmp_path):
    """(home, node, server, client) of each validator, all linked."""
    homes = create_network(
        tmp_path / "net",
        [""] * COUNT,
        created_ms=TimestampMs(1_700_000_000_000),
        chain_params=ChainParams(checkpoint_commits=5),
        ledger_params=LedgerParams(tree_depth=10),
    )
    digest = homes[0].genesis.digest
    members, known = [], {}
    async with AsyncExitStack() as stack:
        for number, home in enumerate(homes):
            node = await start_node(home, NetworkOptions(known=dict(known)), OPTIONS)
            stack.push_async_callback(node.close)
            key = home.genesis.validators[number].public_key
            known[key] = "127.0.0.1", node.peers.transport.port
            server = RpcServer(node.ledger, node)
            await server.start()
            stack.push_async_callback(server.close)
            client = AsyncClient(f"http://127.0.0.1:{server.port}", genesis_digest=digest)
            stack.push_async_callback(client.close)
            members.append((home, node, server, client))
        await until(lambda: all(len(node.linked_validators) == COUNT - 1 for _, node, _, _ in members))
        yield members


async def get(server: RpcServer, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status, await response.text()


async def test_what_one_node_took_another_proves(net):
    treasury = net[0][0].key(TREASURY)
    first, second = net[0][3], net[1][3]
    for amount in range(1, 4):
        sent = await asyncio.wait_for(await first.transfer(treasury, BOB, amount), PATIENCE_S)
        assert sent.statuses.tolist() == [Status.APPLIED]
    async with asyncio.timeout(PATIENCE_S):
        while await second.balance(BOB) != 6:
            await asyncio.sleep(0.02)
        proof = await second.proof(BOB)
    assert proof.line.balance == 6 and len(proof.certificate.signatures) >= 3
    assert (await second.receipt(sent.id())).place == (await first.receipt(sent.id())).place
    ids = b""
    async for event in second.subscribe(0):
        ids += event.ids
        if len(ids) == 3 * 32:
            break


async def test_links_and_quorum_are_told(net):
    _, _, server, client = net[0]
    peers = await client._link.call("peers")
    assert [one["is_self"] for one in peers["validators"]] == [True, False, False, False]
    assert [one["is_linked"] for one in peers["validators"]] == [False, True, True, True]
    assert (peers["others"], peers["linked_stake"], peers["quorum_stake"]) == (0, "4", "3")
    assert (await get(server, "/readyz"))[0] == 200
    _, figures = await get(server, "/metrics")
    assert "cherrydag_peers 3.0" in figures and 'cherrydag_peer_bytes_total{direction="in"}' in figures
    for lost, status in ((3, 200), (2, 503)):
        await net[lost][1].close()
        await until(lambda: len(net[0][1].linked_validators) == lost - 1)  # noqa: B023 - awaited here
        got, told = await get(server, "/readyz")
        assert got == status and ("no_quorum" in told) == (status == 503)


async def test_every_node_tells_how_the_dag_of_all_grows(net):
    treasury, clients = net[0][0].key(TREASURY), [member[3] for member in net]
    feeds = [client.dag() for client in clients]
    names: list[dict[str, int]] = [{} for _ in net]
    commits: list[dict[int, tuple[str, ...]]] = [{} for _ in net]
    sent = await asyncio.wait_for(await clients[0].transfer(treasury, BOB, 1), PATIENCE_S)
    last = (await clients[0].receipt(sent.id())).place.commit_index
    async with asyncio.timeout(PATIENCE_S):
        for number, feed in enumerate(feeds):
            while last not in commits[number]:
                update = await anext(feed)
                names[number] |= {each.name: each.author for each in update.vertices}
                commits[number] |= {each.commit_index: each.vertices for each in update.commits}
            await feed.aclose()
    assert all(set(each.values()) == {0, 1, 2, 3} for each in names)
    for index in range(1, last + 1):
        assert len({each[index] for each in commits}) == 1
        assert all(set(each[index]) <= set(known) for each, known in zip(commits, names, strict=True))


async def test_a_validator_that_is_gone_misses_rounds_and_leads(net):
    treasury, first = net[0][0].key(TREASURY), net[0][3]
    await net[3][1].close()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await asyncio.wait_for(await first.transfer(treasury, BOB, 1), PATIENCE_S)
            found = await first.validators()
            if found[3].leads_missed and found[3].misses > 3:
                break
    assert [one.is_self for one in found] == [True, False, False, False]
    assert [one.is_linked for one in found] == [False, True, True, False]
    assert found[0].misses == 0 and all(one.leads for one in found[:3])
    assert found[3].last_round is None or found[3].last_round < found[0].last_round
