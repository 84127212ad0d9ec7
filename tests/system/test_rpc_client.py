"""The client against a node: the verbs of Ledger, their errors, and nodes that restart or lie."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from aiohttp import web
from rpc_rig import ALICE, BOB, CAROL, OPTIONS, api, served

from cherrydag.address import Network, address_of, encode_address
from cherrydag.client import AsyncClient
from cherrydag.errors import Closed, ConfigError, Overloaded, PeerFault, Rejected, ShapeError
from cherrydag.execution.accounts import Status
from cherrydag.execution.anchor import AnchorKind, encode_anchor
from cherrydag.ledger import Ledger
from cherrydag.primitives import Digest
from cherrydag.rpc import remote_submission
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.link import RemoteOverloaded
from cherrydag.runtime.submissions import Phase

TO = address_of(BOB.public_key)


async def test_the_verbs_tell_what_the_ledger_tells(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        ledger = node.ledger
        sent = await (await client.transfer(ledger.treasury, BOB, 5, fee=2))
        assert sent.is_settled and sent.statuses.tolist() == [Status.APPLIED]
        assert await client.phase(sent.id()) is Phase.FINAL
        assert await client.phase(bytes(32)) is None
        for owner in (BOB, TO, encode_address(TO, Network.DEV)):
            assert await client.balance(owner) == ledger.balance(BOB) == 5
            assert await client.account(owner) == ledger.account(BOB)
        assert await client.receipt(sent.id()) == ledger.receipt(sent.id())
        assert await client.transaction(sent.id()) == ledger.transaction(sent.id())
        assert await client.inclusion(sent.id()) == ledger.inclusion(sent.id())
        assert await client.history(BOB) == ledger.history(BOB)
        assert await client.supply() == ledger.supply()
        assert await client.status() == ledger.status()
        assert await client.genesis() == ledger._running.home.genesis
        for missing in (client.receipt, client.transaction, client.inclusion):
            assert await missing(bytes(32)) is None


async def test_a_proof_is_verified_for_those_who_are_there_and_those_who_are_not(tmp_path):
    async with api(tmp_path / "l") as node:
        await (await node.ledger.transfer(node.ledger.treasury, BOB, 5))
        async with AsyncClient(node.url, genesis_digest=node.ledger.genesis_digest) as client:
            assert await client.proof(BOB) == await node.ledger.proof(BOB)
            assert (await client.proof(CAROL)).line is None


async def test_history_pages_through(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        sent = [await (await client.transfer(node.ledger.treasury, BOB, n + 1)) for n in range(5)]
        ids, cursor = [], None
        while True:
            page = await client.history(BOB, 2, cursor)
            ids += [item.transaction_id for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        assert ids == [one.id() for one in reversed(sent)]


async def test_a_large_submission_goes_in_parts_and_is_final(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_submission, "PART_BYTES", 10 * 176)
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        records = node.transfers(node.ledger.treasury, TO, 45)
        records["signature"][17, 0] ^= 1
        sent = await client.submit(records.tobytes())
        assert len(sent._parts) <= 5 and len(sent) == 45
        assert sent.phases[17] == Phase.REFUSED and sent.refusal(17).code == "transaction_signature"
        await sent
        expected = np.full(45, Phase.FINAL)
        expected[17] = Phase.REFUSED
        assert sent.phases.tolist() == expected.tolist()
        assert node.ledger.balance(BOB) == 44
        assert [node.ledger.phase(sent.id(row)) for row in (0, 16, 17, 44)] == [3, 3, None, 3]


async def test_bodies_go_with_their_records(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_submission, "PART_BYTES", 400)
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        key, ledger = node.ledger.treasury, node.ledger
        bodies = [bytes([number]) * (50 * number + 1) for number in range(6)]
        ids = []
        for number, body in enumerate(bodies):
            ids.append((await (await ledger.operate(key, 16, body, nonce=number))).id())
        items = [await client.transaction(one) for one in ids]
        assert [item.body for item in items] == bodies
        records = np.frombuffer(b"".join(item.record for item in items), "V176")
        sent = await (await client.submit(records.tobytes(), b"".join(bodies)))
        assert [sent.id(row) for row in range(6)] == ids
        assert sent.phases.tolist() == [Phase.FINAL] * 6


async def test_more_than_a_window_of_one_sender_flows(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        sent = [await client.transfer(node.ledger.treasury, BOB, 1) for _ in range(70)]
        for one in sent:
            await one
        assert await client.balance(BOB) == 70


async def test_operations_are_handed_in_like_transfers(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        treasury, body = node.ledger.treasury, encode_anchor(Digest(b"d" * 32), (TO,))
        made = await (await client.operate(treasury, AnchorKind.CREATE, body, fee=2))
        assert made.statuses.tolist() == [Status.APPLIED]
        receipt = await client.receipt(made.id())
        assert [event.name for event in receipt.operation.events] == ["anchor.created"]
        again = await (await client.operate(treasury, AnchorKind.CREATE, body))
        assert (await client.receipt(again.id())).operation.refusal == "anchor_exists"
        with pytest.raises(Rejected) as refused:
            await client.operate(treasury, 250, b"x")
        assert refused.value.code


async def test_a_refused_transfer_says_why_and_its_nonce_is_free_again(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        with pytest.raises(Rejected) as caught:
            await client.transfer(node.ledger.treasury, BOB, 0)
        assert caught.value.code == "transaction_amount_zero"
        await (await client.transfer(node.ledger.treasury, BOB, 1))
        assert (await client.account(node.ledger.treasury)).next_nonce == 1


async def test_what_a_restart_has_forgotten_is_handed_in_again(tmp_path):
    async with api(tmp_path / "l") as node:
        node.ledger._running.host._execute_next = lambda: None
        client = AsyncClient(node.url)
        sent = await client.submit(node.transfers(node.ledger.treasury, TO, 3))
        assert not sent.is_settled
        port = node.server.port
    async with api(tmp_path / "l", listen=("127.0.0.1", port)) as node:
        rooms, post_batch = [], client._link.post_batch

        async def noted(body, count, room):
            rooms.append(room)
            return await post_batch(body, count, room)

        client._link.post_batch = noted
        await sent
        assert sent.statuses.tolist() == [Status.APPLIED] * 3
        assert node.ledger.balance(BOB) == 3
        assert rooms == ["wait"]  # what was accepted once is not refused for want of room
        await client.close()


async def test_a_subscription_lives_through_a_restart_without_a_gap(tmp_path):
    seen = []

    async def follow(client, count):
        async for event in client.subscribe(0):
            seen.append(event)
            if sum(len(one.records) for one in seen) >= count:
                return

    async with api(tmp_path / "l") as node:
        client, port = AsyncClient(node.url), node.server.port
        task = asyncio.create_task(follow(client, 6))
        for _ in range(3):
            await (await node.ledger.transfer(node.ledger.treasury, BOB, 1))
        while sum(len(one.records) for one in seen) < 3:
            await asyncio.sleep(0)
    async with api(tmp_path / "l", listen=("127.0.0.1", port)) as node:
        for _ in range(3):
            await (await node.ledger.transfer(node.ledger.treasury, BOB, 1))
        await asyncio.wait_for(task, 30)
        assert [event.index for event in seen] == list(range(1, len(seen) + 1))
        for event in seen:
            stored = node.ledger._running.lookups.event(event.index)
            assert (event.ids, event.digest) == (stored.ids, stored.sub_dag.commit.digest)
            assert event.records.tobytes() == stored.records.tobytes()
            assert event.statuses.tolist() == stored.statuses.tolist()
        await client.close()


async def test_a_gap_in_the_events_is_the_fault_of_the_node(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        await (await node.ledger.transfer(node.ledger.treasury, BOB, 1))
        first = (await node.call("commits", 1))["commits"][0]
        third = first | {"commit_index": 3}

        async def events(*_):
            yield {"subscription": 1, "commit_index": 0}
            yield {"cursor": 1, "result": first}
            yield {"cursor": 3, "result": third}

        client._link._events = events
        seen = []
        with pytest.raises(PeerFault, match="commit 3 after 1"):
            async for event in client.subscribe(0):
                seen += [event.index]
        assert seen == [1]
        third.pop("commit_index")
        with pytest.raises(PeerFault, match="commit_index"):
            async for event in client.subscribe(0):
                seen += [event.index]
        assert seen == [1, 1]


async def test_a_commit_whose_rows_did_not_come_is_asked_for_again(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        for _ in range(3):
            await (await node.ledger.transfer(node.ledger.treasury, BOB, 1))
        request, failures = client._link._request, iter([1, 0, 1, 1])

        async def fails_now_and_then(verb, path, **options):
            if path.startswith("/commits/") and next(failures, 0):
                raise ConnectionError("it broke")
            return await request(verb, path, **options)

        client._link._request = fails_now_and_then
        seen = []
        async for event in client.subscribe(0):
            seen.append(event.index)
            if event.index == 3:
                break
        assert seen == [1, 2, 3]


async def test_commits_with_many_rows_come_whole(tmp_path):
    limits = replace(RpcLimits(), rows_count=7)
    async with api(tmp_path / "l", limits) as node, AsyncClient(node.url) as client:
        await (await client.submit(node.transfers(node.ledger.treasury, TO, 40)))
        ids = b""
        async for event in client.subscribe(0):
            ids += event.ids
            assert len(event.ids) == 32 * len(event.records) == 32 * len(event.statuses)
            if len(ids) == 40 * 32:
                break


async def test_errors_keep_the_code_of_the_node(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        with pytest.raises(Rejected) as refused:
            await client.history(BOB, 0)
        assert refused.value.code == "param_limit"
        with pytest.raises(Rejected) as refused:
            async for _ in client.subscribe(10_000):
                pass
        assert refused.value.code == "cursor_ahead"
        node.server.calls.open = 10_000
        with pytest.raises(RemoteOverloaded) as overloaded:
            await client.balance(BOB)
        assert overloaded.value.code == "calls_open" and overloaded.value.retry_after_ms == 250
        node.server.calls.open = 0
        node.ledger._running.host.fail(OSError("gone"))
        with pytest.raises(ConnectionError, match="stopped"):
            await client.balance(BOB)


async def test_a_node_that_is_not_there_is_a_connection_error(tmp_path):
    async with api(tmp_path / "l") as node:
        url = node.url
    async with AsyncClient(url, timeout_s=0.2) as client:
        for ask in (client.status(), client.supply(), client.balance(BOB)):
            with pytest.raises(ConnectionError, match=f"^{url}/: Connection refused$"):
                await ask
        with pytest.raises(ConnectionError):
            async for _ in client.subscribe(0):
                pass
    with pytest.raises(Closed):
        await client.status()


async def test_another_chain_is_refused(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url, genesis_digest=bytes(32)) as client:
        with pytest.raises(ConfigError, match="genesis_digest"):
            await client.balance(BOB)


@pytest.mark.parametrize("url", ["", "localhost:1", "ftp://a", "http://", "http://a?b=1", "http://a#b"])
async def test_a_url_is_http(url):
    with pytest.raises(ConfigError, match="url"):
        AsyncClient(url)


async def test_an_owner_is_an_address_of_the_network(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        with pytest.raises(Rejected):
            await client.balance(encode_address(TO, Network.MAIN))
        with pytest.raises(ShapeError):
            await client.balance(b"short")


# Nodes that lie


class Liar:
    """A node between the client and an honest one: it changes one answer."""

    def __init__(self, node, method: str, change) -> None:
        self._node, self._method, self._change = node, method, change

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{port}"

    async def __aexit__(self, *_) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        call = await request.json()
        _, answer = await self._node.post(json.dumps(call))
        if call["method"] == self._method:
            self._change(answer["result"])
        return web.json_response(answer)


def _set(*path_and_value):
    *path, name, value = path_and_value

    def change(result):
        for step in path:
            result = result[step]
        result[name] = value(result[name]) if callable(value) else value

    return change


def _flip(text: str) -> str:
    return ("1" if text[0] != "1" else "2") + text[1:]


LIES = [
    ("account_proof", _set("certificate", "state_root", _flip), "certificate_signature"),
    ("account_proof", _set("certificate", "commit_index", 10_000), "certificate_signature"),
    ("account_proof", _set("certificate", "signatures", []), "certificate_stake"),
    ("account_proof", _set("certificate", "signatures", lambda one: one * 2), "certificate_order"),
    ("account_proof", _set("certificate", "chain", _flip), "certificate_chain"),
    ("account_proof", _set("state_proof", lambda text: text[:-2] + _flip(text[-2:])), "state_proof_root"),
    ("account_proof", _set("state_proof", "00"), "state_proof_truncated"),
    ("account_proof", _set("state_proof", "zz"), "answer"),
    ("account_proof", _set("certificate", 5), "answer"),
    ("genesis", _set("encoding", lambda text: text[:-2] + _flip(text[-2:])), "answer"),
    ("genesis", _set("encoding", "00"), "answer"),
    ("transaction", _set("record", lambda text: _flip(text)), "answer"),
    ("transaction", _set("body", "00"), "answer"),
    ("inclusion_proof", _set("signature", _flip), "inclusion_proof"),
    ("inclusion_proof", _set("header", _flip), "inclusion_proof"),
    ("receipt", _set("status", "excellent"), "answer"),
    ("ledger_info", _set("network", "moon"), "answer"),
    ("account", _set("balance", "much"), "answer"),
    ("account_proof", lambda result: result.clear(), "answer"),
    ("balance", _set("balance", None), "answer"),
    ("balance", lambda result: result.clear(), "answer"),
    ("supply", _set("fees", "few"), "answer"),
]


@pytest.mark.parametrize(("method", "lie", "code"), LIES)
async def test_a_lie_is_seen(tmp_path, method, lie, code):
    async with api(tmp_path / "l") as node:
        sent = await (await node.ledger.transfer(node.ledger.treasury, BOB, 5))
        async with Liar(node, method, lie) as url, AsyncClient(url) as client:
            asks = {
                "account_proof": lambda: client.proof(BOB),
                "genesis": lambda: client.proof(BOB),
                "transaction": lambda: client.transaction(sent.id()),
                "inclusion_proof": lambda: client.inclusion(sent.id()),
                "receipt": lambda: client.receipt(sent.id()),
                "ledger_info": lambda: client.balance(BOB),
                "account": lambda: client.account(BOB),
                "balance": lambda: client.balance(BOB),
                "supply": lambda: client.supply(),
            }
            with pytest.raises(PeerFault) as caught:
                await asks[method]()
            assert caught.value.code == code


async def test_a_nonce_that_is_none_is_the_fault_of_the_node(tmp_path):
    async with api(tmp_path / "l") as node:
        lie = _set("next_nonce", "soon")
        async with Liar(node, "account", lie) as url, AsyncClient(url) as client:
            with pytest.raises(PeerFault, match="not what it should be"):
                await client.transfer(node.ledger.treasury, BOB, 5)


async def test_the_line_is_the_proven_one_whatever_the_node_says_of_it(tmp_path):
    async with api(tmp_path / "l") as node:
        await (await node.ledger.transfer(node.ledger.treasury, BOB, 5))
        lie = _set("line", "balance", "5000")
        async with Liar(node, "account_proof", lie) as url, AsyncClient(url) as client:
            assert (await client.proof(BOB)).line.balance == 5


# The blocking face


def test_a_script_uses_the_same_verbs(tmp_path):
    with Ledger.open(tmp_path / "l", options=OPTIONS) as ledger, served(ledger) as client:
        sent = client.transfer(ledger.treasury, ALICE, 7).wait(30)
        assert sent.statuses.tolist() == [Status.APPLIED]
        assert client.balance(ALICE) == ledger.balance(ALICE) == 7
        assert client.account(ALICE) == ledger.account(ALICE)
        assert client.receipt(sent.id()) == ledger.receipt(sent.id())
        assert client.transaction(sent.id()) == ledger.transaction(sent.id())
        assert client.inclusion(sent.id()) == ledger.inclusion(sent.id())
        assert client.history(ALICE) == ledger.history(ALICE)
        assert client.supply() == ledger.supply()
        assert client.status() == ledger.status()
        assert client.phase(sent.id()) is Phase.FINAL
        assert client.proof(ALICE).line.balance == 7
        assert client.genesis().digest == ledger.genesis_digest
        events = client.subscribe(0)
        assert next(events).index == 1
        events.close()
        done = client.submit(b"").wait(5)
        assert len(done) == 0
        client.close()
        with pytest.raises(Closed):
            client.balance(ALICE)


async def test_an_async_submission_is_awaited_and_not_waited_for(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        sent = await client.transfer(node.ledger.treasury, BOB, 5)
        with pytest.raises(ShapeError, match="await"):
            sent.wait()
        assert issubclass(RemoteOverloaded, Overloaded)
