"""The live DAG over real WebSockets: nothing is missed, and what is missed is said."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from jsonschema import Draft202012Validator
from rpc_rig import BOB, OPTIONS, api, served

from cherrydag.client import AsyncClient
from cherrydag.errors import PeerFault
from cherrydag.ledger import AsyncLedger, Ledger
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.schemas import SCHEMAS, ref
from cherrydag.rpc.server import RpcServer
from cherrydag.rpc.subscriptions import LAG_CLOSE

EVENT = Draft202012Validator(ref("DagEvent") | {"components": {"schemas": SCHEMAS}})
SLOW_S = 20


class Eye:
    """One subscription: what it has been told, in order."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.cursor = 0
        self.gaps: list[bool] = []
        self.vertices: dict[str, dict] = {}
        self.commits: dict[int, dict] = {}

    async def read(self) -> dict:
        async with asyncio.timeout(SLOW_S):
            message = await self.ws.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def begin(self, **params) -> dict:
        call = {"jsonrpc": "2.0", "id": 1, "method": "subscribe_dag", "params": params}
        await self.ws.send_str(json.dumps(call))
        return (await self.read())["result"]

    async def event(self) -> dict:
        """The next event; its vertices come before what they are named by, and it is news."""
        told = (await self.read())["params"]
        form = told["result"]
        EVENT.validate(form)
        assert told["cursor"] >= self.cursor
        self.cursor = told["cursor"]
        self.gaps.append(form["is_gap"])
        for vertex in form["vertices"]:
            assert vertex["name"] not in self.vertices
            self.vertices[vertex["name"]] = vertex
        for commit in form["commits"]:
            assert commit["commit_index"] not in self.commits
            assert commit["leader"] == commit["vertices"][-1]
            self.commits[commit["commit_index"]] = commit
        return form

    async def until_commit(self, index: int) -> None:
        while max(self.commits, default=0) < index:
            await self.event()


@asynccontextmanager
async def watching(node, **params):
    async with node.http.ws_connect(node.url + "/ws", max_msg_size=0) as ws:
        eye = Eye(ws)
        eye.answer = await eye.begin(**params)
        yield eye


async def pay(node, count: int = 1) -> int:
    """Payments one after another; index of the last commit."""
    for _ in range(count):
        await (await node.ledger.transfer(node.ledger.treasury, BOB, 1))
    return node.ledger.status().commit_index


async def test_the_dag_is_told_as_it_grows(tmp_path):
    async with api(tmp_path / "l") as node, watching(node) as eye:
        last = await pay(node, 5)
        await eye.until_commit(last)
        assert not any(eye.gaps)
        known = list(eye.vertices)
        for at, vertex in enumerate(eye.vertices.values()):
            assert vertex["round"] == 1 or vertex["parents"][0] in known[:at]
        for index, commit in eye.commits.items():
            form = await node.call("commit", index)
            assert commit["vertices"] == [each["digest"][:16] for each in form["vertex_refs"]]
            assert commit["transactions"] == form["transactions"] and commit["time_ms"] == form["time_ms"]
            assert set(commit["vertices"]) <= set(eye.vertices)
        assert sorted(eye.commits) == list(range(1, last + 1))


async def test_each_vertex_that_is_told_is_found_by_its_name(tmp_path):
    async with api(tmp_path / "l") as node, watching(node) as eye:
        await eye.until_commit(await pay(node, 3))
        order = {name: index for index, each in eye.commits.items() for name in each["vertices"]}
        for name, told in eye.vertices.items():
            form = await node.call("vertex", digest=name)
            assert form["digest"].startswith(name)
            for member in ("kind", "author", "issuer", "round", "time_ms", "transactions", "bytes"):
                assert form[member] == told[member]
            assert [each["digest"][:16] for each in form["parents"]] == told["parents"]
            if name in order:
                assert form["commit_index"] == order[name]
                assert form["is_leader"] == (eye.commits[order[name]]["leader"] == name)
        assert await node.call("vertex", digest="00" * 8) is None


@pytest.mark.parametrize("digest", ["0" * 15, "0" * 65, "0" * 15 + "g", 7])
async def test_what_is_no_name_is_refused(tmp_path, digest):
    async with api(tmp_path / "l") as node:
        assert (await node.error("vertex", digest=digest))[1] == "param_digest"


async def test_who_comes_later_is_told_all_that_is_kept(tmp_path):
    async with api(tmp_path / "l") as node, watching(node) as early:
        last = await pay(node, 5)
        await early.until_commit(last)
        async with watching(node) as late:
            await late.until_commit(last)
            assert late.vertices == {name: early.vertices[name] for name in late.vertices}
            assert late.commits == early.commits and not any(late.gaps)


async def test_a_subscription_goes_on_from_its_cursor(tmp_path):
    async with api(tmp_path / "l") as node, watching(node) as whole:
        seen: list[str] = []
        commits: list[int] = []
        cursor: dict[str, int] = {}
        for _ in range(4):
            async with watching(node, **cursor) as part:
                assert not cursor or part.answer["cursor"] == cursor["after"]
                await part.until_commit(await pay(node, 2))
                assert not any(part.gaps)
                seen += part.vertices
                commits += part.commits
                cursor = {"after": part.cursor}
        last = await pay(node)
        async with watching(node, **cursor) as part:
            await part.until_commit(last)
            seen += part.vertices
            commits += part.commits
        await whole.until_commit(last)
        assert commits == list(whole.commits)
        assert seen == list(whole.vertices)[: len(seen)] and len(whole.vertices) - len(seen) < 6


async def test_a_cursor_of_an_earlier_life_is_a_gap_with_the_window(tmp_path):
    async with api(tmp_path / "l") as node, watching(node) as before:
        last = await pay(node, 3)
        await before.until_commit(last)
    async with api(tmp_path / "l") as node, watching(node, after=before.cursor) as eye:
        await eye.until_commit(last)
        assert eye.gaps[0] and not any(eye.gaps[1:])
        assert eye.answer["cursor"] > before.cursor
        for index, each in before.commits.items():
            assert eye.commits[index] == each
        for name, vertex in before.vertices.items():
            assert eye.vertices[name] == vertex
        await eye.until_commit(await pay(node))


async def test_a_cursor_that_is_too_old_is_a_gap_with_what_is_kept(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), dag_notes=4)) as node:
        async with watching(node) as eye:
            old = (await eye.event(), eye.cursor)[1]
        await pay(node, 4)
        async with watching(node, after=old) as eye:
            await eye.event()
            assert eye.gaps == [True] and len(eye.vertices) + len(eye.commits) == 4
        async with watching(node, after=eye.cursor) as eye:
            await eye.event()
            assert eye.gaps == [False]


async def test_the_first_event_alone_says_that_there_is_a_gap(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), dag_event_bytes=1)) as node:
        last = await pay(node, 2)
        async with watching(node, after=7) as eye:
            await eye.until_commit(last)
            assert eye.gaps == [True, *[False] * (len(eye.gaps) - 1)] and len(eye.gaps) > 4


@pytest.mark.parametrize("after", [-1, 2**53 + 1, "7"])
async def test_what_is_no_cursor_is_refused(tmp_path, after):
    async with api(tmp_path / "l") as node, node.http.ws_connect(node.url + "/ws") as ws:
        call = {"jsonrpc": "2.0", "id": 1, "method": "subscribe_dag", "params": {"after": after}}
        await ws.send_str(json.dumps(call))
        assert json.loads((await ws.receive()).data)["error"]["data"]["code"] == "param_after"


async def test_a_large_window_comes_in_many_events_at_the_clients_pace(tmp_path):
    limits = replace(RpcLimits(), dag_event_bytes=1000, queue_bytes=4000)
    async with api(tmp_path / "l", limits) as node:
        last = await pay(node, 20)
        async with watching(node) as eye:
            await asyncio.sleep(0)
            await eye.until_commit(last)
            assert not any(eye.gaps) and len(eye.gaps) > 20
            assert node.server.hub.lagged == 0


async def test_who_does_not_keep_up_is_closed_and_comes_back_with_the_cursor(tmp_path):
    limits = replace(RpcLimits(), queue_bytes=2000, dag_event_bytes=500)
    async with api(tmp_path / "l", limits) as node, watching(node) as eye:
        await eye.event()
        (session,) = node.server.hub.sessions
        (subscription,) = session.subscriptions.values()
        session.sent = lambda: None  # its socket takes nothing more
        while not session.has_ended:
            await pay(node)
            node.server.hub.dag._beat()
        async with asyncio.timeout(SLOW_S):
            while (message := await eye.ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        assert message.data == LAG_CLOSE and message.extra == f"lag cursor={subscription.cursor}"
        assert subscription not in node.server.hub.dag._followers
        async with watching(node, after=subscription.cursor) as again:
            await again.until_commit(node.ledger.status().commit_index)
            assert not any(again.gaps)


async def test_an_ended_subscription_leaves_nothing_behind(tmp_path):
    async with api(tmp_path / "l") as node:
        hub = node.server.hub
        async with watching(node) as eye:
            await eye.event()
            assert hub.dag._followers
            call = {"jsonrpc": "2.0", "id": 2, "method": "unsubscribe", "params": {"subscription": 1}}
            await eye.ws.send_str(json.dumps(call))
            assert (await eye.read())["result"] == {"was_open": True}
            assert not hub.dag._followers and hub.dag._timer is None
        async with watching(node) as eye:
            await eye.event()
        while hub.sessions:
            await asyncio.sleep(0)
        assert not hub.dag._followers and hub.dag._timer is None
        watchers = node.ledger._running.host.watchers
        assert hub.dag.feed in watchers
        await node.server.close()
        assert hub.dag.feed not in watchers


async def test_a_frozen_ledger_tells_that_nothing_is_live(tmp_path):
    async with api(tmp_path / "l") as node:
        name = (await node.call("commit", await pay(node)))["leader"]["digest"]
    reading = replace(OPTIONS, only_reads=True)
    async with await AsyncLedger.open(tmp_path / "l", options=reading) as ledger:
        server = RpcServer(ledger._running)
        await server.start()
        try:
            async with AsyncClient(f"http://127.0.0.1:{server.port}") as client:
                update = await anext(client.dag())
                assert (update.vertices, update.commits, update.is_gap) == ((), (), False)
                found = await client.vertex(name)
                assert found is not None and found.commit_index and found.is_leader
                assert (await client.validators())[0].vertices == 0
        finally:
            await server.close()


# The client


async def test_a_client_follows_through_restarts_and_says_where_something_may_be_missing(tmp_path):
    port, commits, gaps = 0, [], []
    updates = None
    client = None
    for life in range(2):
        async with api(tmp_path / "l", listen=("127.0.0.1", port)) as node:
            port = node.server.port
            if client is None:
                client = AsyncClient(node.url)
                updates = client.dag()
            last = await pay(node, 2)
            async with asyncio.timeout(SLOW_S):
                while last not in commits:
                    update = await anext(updates)
                    gaps += [life] if update.is_gap else []
                    commits = [] if update.is_gap else commits
                    commits += [each.commit_index for each in update.commits]
            assert commits == list(range(1, last + 1))
    assert gaps == [1]
    await updates.aclose()
    await client.close()


async def test_a_client_reads_vertices_and_validators(tmp_path):
    async with api(tmp_path / "l") as node, AsyncClient(node.url) as client:
        await pay(node, 2)
        leader = (await node.call("commit", 1))["leader"]["digest"]
        found = await client.vertex(bytes.fromhex(leader))
        assert found == await client.vertex(leader[:16].upper()) and found.digest.hex() == leader
        assert (found.commit_index, found.is_leader, found.author, found.seq) == (1, True, 0, None)
        assert await client.vertex(bytes(32)) is None
        (one,) = await client.validators()
        assert one.is_self and one.misses == 0 and one.leads >= 2 and one.last_round == one.vertices

        async def lie(_: object, digest: str) -> dict[str, str]:
            return {"digest": "00" * 32}

        node.server.methods["vertex"] = replace(node.server.methods["vertex"], handler=lie)
        with pytest.raises(PeerFault):
            await client.vertex(leader)


def test_a_script_follows_the_dag(tmp_path):
    with Ledger.open(tmp_path / "l", options=OPTIONS) as ledger, served(ledger) as client:
        ledger.transfer(ledger.treasury, BOB, 1).wait()
        updates = client.dag()
        commits = []
        while not commits:
            commits += next(updates).commits
        updates.close()
        found = client.vertex(commits[0].leader)
        assert found is not None and found.is_leader and found.commit_index == 1
        assert [one.name for one in client.validators()]
