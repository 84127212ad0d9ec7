"""The API's HTTP: who is let in, bodies, binary batches, health, metrics, and how many sockets."""

import asyncio
import json
from dataclasses import replace

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rpc_rig import BOB, CAROL, api

from cherrydag.address import Network, address_of, encode_address
from cherrydag.errors import ConfigError, NoRoom
from cherrydag.execution.accounts import Status
from cherrydag.mempool import AddStatus
from cherrydag.rpc.forms import ANSWER
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.server import RpcOptions, RpcServer
from cherrydag.runtime.submissions import FAR_CODE, SIGNATURE_CODE, Phase
from cherrydag.signing import sign_records
from cherrydag.storage.values import WriteFailure

CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "balance", "params": ["x"]})
TO = address_of(BOB.public_key)
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
OCTETS = {"Content-Type": "application/octet-stream"}


async def post(node, body: bytes, query: str = "", **headers: str):
    """A binary submission: status, headers, body."""
    sent = OCTETS | {name.replace("_", "-"): value for name, value in headers.items()}
    async with node.http.post(f"{node.url}/submit{query}", data=body, headers=sent) as response:
        return response.status, response.headers, await response.read()


# Who is let in


@pytest.mark.parametrize(
    ("host", "is_taken"),
    [
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("127.0.0.1", True),
        ("[::1]:80", True),
        ("node.example", True),
        ("node.example:444", True),
        ("evil.example", False),
        ("node.example.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:x", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
async def test_only_our_names_are_served(tmp_path, host, is_taken):
    async with api(tmp_path / "l", hosts=("node.example",)) as node:
        for path, verb in (("/", "POST"), ("/livez", "GET"), ("/ws", "GET"), ("/nothing", "GET")):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
            writer.write(f"{verb} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.read(2000)
            assert (b'"host"' not in body) == is_taken, (head, body)
            writer.close()


async def test_a_request_without_a_host_or_with_two_is_refused(tmp_path):
    async with api(tmp_path / "l") as node:
        for head in (
            "GET /livez HTTP/1.0\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
            writer.write(head.encode())
            assert (await reader.readline()).split()[1] == b"400"
            writer.close()


@pytest.mark.parametrize(
    ("origin", "is_taken", "is_allowed"),
    [
        (None, True, False),
        ("same", True, False),
        ("https://wallet.example", True, True),
        ("https://wallet.example:443", False, False),
        ("http://wallet.example", False, False),
        ("https://evil.example", False, False),
        ("http://localhost", False, False),
        ("null", False, False),
        ("*", False, False),
    ],
)
async def test_pages_of_other_origins_are_refused(tmp_path, origin, is_taken, is_allowed):
    async with api(tmp_path / "l", origins=("https://wallet.example",)) as node:
        headers = {} if origin is None else {"Origin": node.url if origin == "same" else origin}
        for path in ("/livez", "/metrics"):
            async with node.http.get(node.url + path, headers=headers) as response:
                assert (response.status == 200) == is_taken
                assert response.headers.get("Access-Control-Allow-Origin") == (origin if is_allowed else None)
        if is_taken:
            async with node.http.ws_connect(node.url + "/ws", headers=headers):
                pass
        else:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await node.http.ws_connect(node.url + "/ws", headers=headers)


async def test_an_allowed_origin_may_ask_before_it_asks(tmp_path):
    async with api(tmp_path / "l", origins=("https://wallet.example",)) as node:
        for origin, status in (("https://wallet.example", 204), ("https://evil.example", 400)):
            async with node.http.options(node.url, headers={"Origin": origin}) as response:
                assert response.status == status
        async with node.http.options(node.url) as response:
            assert response.status == 405


async def test_a_wildcard_of_origins_is_no_origin(tmp_path):
    with pytest.raises(ConfigError, match="origins"):
        async with api(tmp_path / "l", origins=("*",)):
            pass


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/octet-stream", 415),
        ("", 415),
    ],
)
async def test_json_says_that_it_is_json(tmp_path, kind, status):
    async with api(tmp_path / "l") as node:
        assert (await node.post(CALL, Content_Type=kind))[0] == status


async def test_an_encoded_body_is_refused(tmp_path):
    async with api(tmp_path / "l") as node:
        for coding, status in (("identity", 200), ("gzip", 415), ("deflate", 415), ("br", 415)):
            assert (await node.post(CALL, Content_Encoding=coding))[0] == status


# Bodies


@pytest.mark.parametrize(("size", "status"), [(999, 200), (1000, 200), (1001, 413)])
@pytest.mark.parametrize("way", ["whole", "in chunks", "behind its head"])
async def test_a_body_is_bounded(tmp_path, size, status, way):
    async with api(tmp_path / "l", replace(RpcLimits(), body_bytes=1000)) as node:
        body = CALL.encode().ljust(size)

        async def chunks():
            yield body[:500]
            yield body[500:]

        headers = {"Content-Type": "application/json"}
        sent = body if way == "whole" else chunks()
        is_late = way == "behind its head"
        async with node.http.post(node.url, data=sent, headers=headers, expect100=is_late) as response:
            answer = await response.json()
            assert response.status == status
            code = answer["error"]["data"]["code"]
            assert code == ("limit_body_bytes" if status == 413 else "address_separator")


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), body_ms=50)) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
        writer.write(HEAD % 9 + b"{")
        assert (await reader.readline()).split()[1] == b"503"
        writer.close()


async def test_a_connection_without_a_request_is_closed(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), head_ms=50)) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: loc")
        assert await reader.read() == b""
        writer.close()
        for _ in range(2):
            assert (await node.get("/livez"))[0] == 200


@pytest.mark.parametrize(("count", "is_taken"), [(1, True), (2, True), (3, False)])
async def test_connections_are_bounded(tmp_path, count, is_taken):
    async with api(tmp_path / "l", replace(RpcLimits(), connections=2)) as node:
        writers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
            writers.append(writer)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            line = await reader.readline()
        assert line.split()[1] == (b"200" if is_taken else b"503")
        assert node.server.refused_connections == (0 if is_taken else 1)
        for writer in writers:
            writer.close()


async def test_a_path_that_there_is_none_of_is_an_error_of_the_same_form(tmp_path):
    async with api(tmp_path / "l") as node:
        for path, status in (("/nothing", 404), ("/", 406), ("/submit", 405), ("/submissions/xyz", 404)):
            got, answer = await node.get(path)
            assert (got, answer["error"]["data"]["code"]) == (status, f"http_{status}")


# Binary batches


async def test_a_batch_is_accepted_and_asked_for(tmp_path):
    async with api(tmp_path / "l") as node:
        records = node.transfers(node.ledger.treasury, TO, 40)
        status, headers, body = await post(node, records.tobytes())
        rows = np.frombuffer(body, ANSWER)
        assert status == 200 and headers["X-Records"] == "40" and len(rows) == 40
        assert set(rows["code"].tolist()) == {AddStatus.ADDED}
        while "X-Submission" in headers:
            url = f"{node.url}/submissions/{headers['X-Submission']}?wait_ms=5000"
            async with node.http.get(url) as response:
                headers, body = response.headers, await response.read()
        rows = np.frombuffer(body, ANSWER)
        assert set(rows["phase"].tolist()) == {Phase.FINAL}
        assert set(rows["status"].tolist()) == {Status.APPLIED}
        assert len(set(rows["place"].tolist())) == 40
        assert node.ledger.balance(BOB) == 40
        assert not node.server.backend._held and node.server.backend._held_rows == 0


async def test_a_batch_is_awaited_until_it_is_final_and_told_by_columns(tmp_path):
    async with api(tmp_path / "l") as node:
        records = node.transfers(node.ledger.treasury, TO, 5)
        records["signature"][3, 0] ^= 1
        status, _, body = await post(node, records.tobytes(), "?wait=final", Accept="application/json")
        told = json.loads(body)
        assert status == 200 and told["is_settled"] and told["count"] == 5 and told["refused"] == 1
        assert told["phases"] == [3, 3, 3, 0, 3] and told["codes"][3] == SIGNATURE_CODE
        assert told["refusals"][str(SIGNATURE_CODE)][0] == "transaction_signature"
        assert told["ids"][:64] == (await node.call("history", _text(BOB)))["items"][-1]["id"]
        assert max(told["positions"]) < 4 and told["commit_indices"][3] == 0


def _text(key) -> str:
    return encode_address(address_of(key.public_key), Network.DEV)


async def test_a_batch_carries_bodies_behind_its_records(tmp_path):
    async with api(tmp_path / "l") as node:
        key, ledger = node.ledger.treasury, node.ledger
        records = node.transfers(key, bytes(20), 2)
        records["kind"], records["body_size"], records["amount_lo"] = 16, [3, 5], 0
        offsets = np.array([0, 3, 8], np.uint64)
        sign_records(
            records, ledger.transaction_key, [key], np.zeros(2, int), bodies=b"x" * 8, body_offsets=offsets
        )
        status, _, body = await post(
            node, records.tobytes() + b"x" * 8, "?wait=final", X_Records="2", Accept="application/json"
        )
        told = json.loads(body)
        assert status == 200 and told["phases"] == [3, 3]
        for body_part, is_whole in ((b"x" * 7, False), (b"x" * 9, False), (b"x" * 8, True)):
            status, _, _ = await post(node, records.tobytes() + body_part, X_Records="2")
            assert (status == 200) == is_whole


@pytest.mark.parametrize("is_final", [False, True])
async def test_what_takes_longer_than_the_wait_is_answered_as_it_stands(tmp_path, is_final):
    async with api(tmp_path / "l") as node:
        host = node.ledger._running.host
        host._execute_next = lambda: None  # nothing becomes final
        records = node.transfers(node.ledger.treasury, TO, 2)
        query = "?wait=final&wait_ms=1" if is_final else "?wait=accepted"
        status, headers, body = await post(node, records.tobytes(), query)
        assert status == (202 if is_final else 200)
        assert set(np.frombuffer(body, ANSWER)["phase"].tolist()) <= {Phase.ACCEPTED, Phase.SEQUENCED}
        async with node.http.get(f"{node.url}/submissions/{headers['X-Submission']}?wait_ms=1") as response:
            assert response.status == 202 and response.headers["X-Submission"] == headers["X-Submission"]


async def test_results_that_are_not_kept_are_asked_for_in_vain(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), held_submissions=2, held_rows=5)) as node:
        node.ledger._running.host._execute_next = lambda: None
        tokens = []
        for nonce, count in ((0, 1), (1, 1), (2, 1), (3, 4)):
            records = node.transfers(node.ledger.treasury, TO, count, nonce)
            tokens.append((await post(node, records.tobytes()))[1]["X-Submission"])
        kept = [(await node.http.get(f"{node.url}/submissions/{token}")).status for token in tokens]
        assert kept == [404, 404, 202, 202]
        records = node.transfers(node.ledger.treasury, TO, 2, 7)
        await post(node, records.tobytes())
        assert list(node.server.backend._held) != tokens[2:] and node.server.backend._held_rows <= 5


@pytest.mark.parametrize(("count", "status"), [(2, 200), (3, 200), (4, 413)])
async def test_the_bytes_of_a_batch_are_bounded(tmp_path, count, status):
    async with api(tmp_path / "l", replace(RpcLimits(), submit_bytes=3 * 176)) as node:
        assert (await post(node, bytes(176 * count)))[0] == status


@pytest.mark.parametrize(("open_bytes", "status"), [(175, 200), (176, 200), (177, 503)])
async def test_the_bytes_in_work_are_bounded(tmp_path, open_bytes, status):
    async with api(tmp_path / "l", replace(RpcLimits(), submit_bytes_open=2 * 176)) as node:
        node.server.backend.bytes_open = open_bytes
        got, headers, _ = await post(node, bytes(176))
        assert got == status and ("Retry-After" in headers) == (status == 503)
        assert node.server.backend.bytes_open == open_bytes


@pytest.mark.parametrize(
    ("query", "headers", "body", "code"),
    [
        ("?wait=never", {}, b"", "query"),
        ("?room=none", {}, b"", "query"),
        ("?wait=final&wait=final", {}, b"", "query"),
        ("?other=1", {}, b"", "query"),
        ("?wait_ms=-1", {}, b"", "query"),
        ("?wait_ms=30001", {}, b"", "query"),
        ("?wait_ms=1.5", {}, b"", "query"),
        ("", {"X_Records": "x"}, b"", "query"),
        ("", {"X_Records": "-1"}, b"", "query"),
        ("", {"X_Records": "2"}, bytes(176), "submission_records"),
        ("", {}, bytes(177), "submission_records"),
        ("", {"X_Records": "1"}, bytes(177), "submission_bodies"),
    ],
)
async def test_a_malformed_submission_says_what_is_wrong(tmp_path, query, headers, body, code):
    async with api(tmp_path / "l") as node:
        status, _, answer = await post(node, body, query, **headers)
        assert status == 400 and json.loads(answer)["error"]["data"]["code"] == code


async def test_rows_without_room_are_refused_or_waited_for(tmp_path):
    async with api(tmp_path / "l") as node:
        records = node.transfers(node.ledger.treasury, TO, 100)
        status, _, body = await post(node, records.tobytes(), "?room=refuse")
        codes = np.frombuffer(body, ANSWER)["code"]
        assert status == 200
        assert set(codes.tolist()) == {AddStatus.ADDED, FAR_CODE} and (codes == AddStatus.ADDED).sum() == 64
        status, _, body = await post(node, records.tobytes(), "?room=wait&wait=final")
        assert set(np.frombuffer(body, ANSWER)["phase"].tolist()) == {Phase.FINAL}
        assert node.ledger.balance(BOB) == 100


async def test_room_that_does_not_come_in_time_is_an_overload(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), wait_ms=50)) as node:
        node.ledger._running.host._execute_next = lambda: None
        records = node.transfers(node.ledger.treasury, TO, 100)
        status, _, body = await post(node, records.tobytes(), "?room=wait")
        assert status == 503 and json.loads(body)["error"]["data"]["code"] == "overloaded"


async def test_rows_of_a_commit_come_column_by_column(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), rows_count=10)) as node:
        records = node.transfers(node.ledger.treasury, TO, 30)
        _, _, body = await post(node, records.tobytes(), "?wait=final")
        index = int(np.frombuffer(body, ANSWER)["place"][0]) >> 32
        seen, total = [], 1
        while len(seen) < total:
            async with node.http.get(f"{node.url}/commits/{index}/rows?first={len(seen)}") as response:
                n, total = int(response.headers["X-Records"]), int(response.headers["X-Total"])
                body = await response.read()
            assert len(body) == n * 209 and n <= 10
            seen += [body[at * 176 : at * 176 + 176] for at in range(n)]
            assert set(body[n * 208 :]) == {Status.APPLIED}
        assert b"".join(seen) == node.ledger._running.lookups.event(index).records.tobytes()
        for count, status in ((9, 200), (10, 200), (11, 400), (0, 400)):
            async with node.http.get(f"{node.url}/commits/{index}/rows?count={count}") as response:
                assert response.status == status
        assert (await node.get("/commits/999/rows"))[0] == 404
        assert (await node.get("/commits/0/rows"))[0] == 400


# Health and metrics


async def test_a_good_node_is_alive_and_ready(tmp_path):
    async with api(tmp_path / "l") as node:
        assert (await node.get("/livez"))[0] == 200
        assert await node.get("/readyz") == (200, {"is_ready": True, "reasons": []})


async def test_a_node_that_cannot_serve_says_why(tmp_path, monkeypatch):
    async with api(tmp_path / "l") as node:
        running = node.ledger._running
        engine = type(running.host.node.engine)
        committee = running.service.rules.committee
        failure = WriteFailure(1, 1, "batch", 28, "no space")
        cases = [
            (engine, "is_behind", True, "behind"),
            (engine, "is_recovered", False, "recovering"),
            (type(running.store), "failure", failure, "not_writable"),
            (type(running), "no_room", NoRoom("no space"), "not_writable"),
        ]
        for owner, name, value, code in cases:
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, value)
                status, told = await node.get("/readyz")
                assert status == 503 and [reason["code"] for reason in told["reasons"]] == [code]
                async with node.http.get(node.url + "/metrics") as response:
                    figures = await response.text()
                assert ("cherrydag_store_failed 1.0" in figures) == (code == "not_writable")
        object.__setattr__(committee, "quorum", 2)
        status, told = await node.get("/readyz")
        assert status == 503 and told["reasons"][0]["code"] == "no_quorum"


async def test_figures_are_read_when_they_are_asked_for(tmp_path):
    async with api(tmp_path / "l") as node:
        await post(node, node.transfers(node.ledger.treasury, TO, 3).tobytes(), "?wait=final")
        await node.call("balance", _text(CAROL))
        await node.error("balance", "x")
        service = node.ledger._running.service
        service.gate.refused["overload.wait_ms"] += 2
        service.funding.held, service.funding.refused = 4, 5
        service.gate.overload.rate, service.gate.arriving = 2000, 500
        async with node.http.get(node.url + "/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain")
            text = await response.text()
        found = {
            " ".join(
                [
                    sample.name.removeprefix("cherrydag_"),
                    *[value for _, value in sorted(sample.labels.items(), reverse=True)],
                ]
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["commit_index"] == node.ledger.status().commit_index
        assert found["commits_total"] >= 1 and found["ready"] == 1
        assert found["mempool_offered_total added"] == 3
        assert found["rpc_calls_total balance ok"] == 1
        assert found["rpc_calls_total balance address_separator"] == 1
        assert found["rpc_limit body_bytes"] == 1 << 20
        assert found["admission_refused_total overload.wait_ms"] == 2
        assert found["admission_refused_total submissions"] == 0
        assert (found["admission_held"], found["admission_unfunded_total"]) == (4, 5)
        assert (found["admission_drain"], found["admission_wait_seconds"]) == (2000, 0.25)
        assert (found["admission_waiting"], found["admission_overloaded"]) == (500, 0)
        assert found["admission_waiting_limit"] == found["admission_vertex_limit"] == 24_576
        assert found["linked_stake"] == found["quorum_stake"] == 1
        service.gate.overload.rate = 0
        async with node.http.get(node.url + "/metrics") as response:
            assert "cherrydag_admission_wait_seconds NaN" in await response.text()
        assert all(name in text for name in ("store_used_bytes", "worker_jobs_completed", "loop_lag_seconds"))


async def test_two_servers_may_show_one_ledger_and_an_address_is_taken_once(tmp_path):
    async with api(tmp_path / "l") as node:
        running = node.ledger._running
        other = RpcServer(running)
        with pytest.raises(ConfigError):
            _ = other.port
        await other.start()
        assert other.port != node.server.port
        clash = RpcServer(running, options=RpcOptions(listen=("127.0.0.1", other.port)))
        with pytest.raises(OSError, match="in use"):
            await clash.start()
        await clash.close()
        await other.close()
        await other.close()


async def test_pipelined_requests_are_answered_in_order(tmp_path):
    async with api(tmp_path / "l") as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
        for number in range(20):
            body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "status"}).encode()
            writer.write(HEAD % len(body) + body)
        for number in range(20):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
            assert json.loads(await reader.readexactly(size))["id"] == number
        writer.close()
