"""What the descriptions promise, held to what is served: bounds, statuses, headers, bodies and events."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from rpc_rig import BOB, CAROL, Api, api

from cherrydag.address import Network, address_of, encode_address
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.schemas import ref
from cherrydag.transaction import transaction_ids

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = replace(RpcLimits(), submit_bytes=3 * 176, rows_count=5, wait_ms=1000)
OCTETS = {"Content-Type": "application/octet-stream"}
TO = address_of(BOB.public_key)
SLOW_S = 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory):
    async with api(tmp_path_factory.mktemp("rpc") / "ledger", LIMITS) as api_:
        await (await api_.ledger.transfer(api_.ledger.treasury, BOB, 5))
        yield api_


async def _paths(node: Api) -> dict[str, Any]:
    return (await node.get("/openapi.json"))[1]


async def _schemas(node: Api) -> dict[str, Any]:
    return (await node.get("/openrpc.json"))[1]["components"]["schemas"]


def _holds(schema: dict[str, Any], schemas: dict[str, Any], value: object) -> None:
    Draft202012Validator(schema | {"components": {"schemas": schemas}}).validate(value)


def _parameter(document: dict[str, Any], verb: str, path: str, name: str) -> dict[str, Any]:
    return next(one for one in document["paths"][path][verb]["parameters"] if one["name"] == name)["schema"]


# Bounds


@pytest.mark.parametrize(
    ("verb", "path", "name", "least", "most"),
    [
        ("post", "/submit", "wait_ms", 0, LIMITS.wait_ms),
        ("post", "/submit", "X-Records", 0, LIMITS.submit_bytes),
        ("get", "/submissions/{token}", "wait_ms", 0, LIMITS.wait_ms),
        ("get", "/commits/{index}/rows", "index", 1, 2**32 - 1),
        ("get", "/commits/{index}/rows", "first", 0, 2**32 - 1),
        ("get", "/commits/{index}/rows", "count", 1, LIMITS.rows_count),
    ],
)
async def test_a_number_is_taken_within_the_described_bounds_and_no_further(
    node, verb, path, name, least, most
):
    described = _parameter(await _paths(node), verb, path, name)
    assert described == {"type": "integer", "minimum": least, "maximum": most}
    for value in (least - 1, least, most, most + 1):
        filled = path.replace("{index}", str(value if name == "index" else 1)).replace("{token}", "0" * 32)
        query = {name: str(value)} if name in ("wait_ms", "first", "count") else {}
        sent = OCTETS | ({name: str(value)} if name == "X-Records" else {})
        asked = node.http.request(verb, node.url + filled, params=query, headers=sent, data=b"")
        async with asked as response:
            text = await response.read()
            error = {} if response.content_type != "application/json" else json.loads(text).get("error", {})
            is_refused = error.get("data", {}).get("code") == "query"
            assert is_refused == (not least <= value <= most), (value, text)


async def test_rows_begin_where_a_call_may_let_them_begin(node):
    document = await node.call("rpc.discover")
    (commit,) = [one for one in document["methods"] if one["name"] == "commit"]
    (first,) = [one["schema"]["oneOf"][0] for one in commit["params"] if one["name"] == "first"]
    assert first == _parameter(await _paths(node), "get", "/commits/{index}/rows", "first")


async def test_a_token_has_the_described_form(node, tmp_path):
    pattern = _parameter(await _paths(node), "get", "/submissions/{token}", "token")["pattern"]
    async with api(tmp_path / "l") as other:
        other.ledger._running.host._execute_next = lambda: None  # nothing becomes final
        records = other.transfers(other.ledger.treasury, TO, 1).tobytes()
        async with other.http.post(other.url + "/submit", data=records, headers=OCTETS) as response:
            assert re.search(pattern, response.headers["X-Submission"])
    for token, code in (("0" * 32, "submission_unknown"), ("0" * 31, "http_404"), ("A" * 32, "http_404")):
        assert bool(re.search(pattern, token)) == (code == "submission_unknown")
        _, answer = await node.get(f"/submissions/{token}")
        assert answer["error"]["data"]["code"] == code


# Statuses, headers and bodies


async def test_every_operation_tells_of_errors_and_what_comes_with_them(node):
    for path, verbs in (await _paths(node))["paths"].items():
        for verb, one in verbs.items():
            error = one["responses"]["default"]
            assert error["content"]["application/json"]["schema"] == ref("Error"), (verb, path)
            assert set(error["headers"]) == {"Retry-After", "Allow"}
            for status, response in one["responses"].items():
                assert ("content" in response) == (status not in ("101", "204", "304")), (path, status)


ASKED = [
    ("GET", "/livez", {}, 200),
    ("GET", "/readyz", {}, 200),
    ("GET", "/metrics", {}, 200),
    ("GET", "/openrpc.json", {}, 200),
    ("GET", "/ws", {}, 400),
    ("GET", "/", {}, 406),
    ("GET", "/", {"Accept": "text/html"}, None),
    ("GET", "/explorer/{path}", {}, 404),
    ("GET", "/commits/{index}/rows", {}, 200),
    ("GET", "/submissions/{token}", {}, 404),
    ("POST", "/submit", OCTETS, 200),
    ("POST", "/submit", OCTETS | {"Accept": "application/json"}, 200),
    ("POST", "/submit", {"Content-Type": "text/plain"}, 415),
]


@pytest.mark.parametrize(("verb", "path", "headers", "status"), ASKED)
async def test_an_answer_is_one_of_the_described(node, verb, path, headers, status):
    """status: None where it depends on whether the explorer is built."""
    document = await _paths(node)
    filled = path.format(index=1, token="0" * 32, path="nothing")
    async with node.http.request(verb, node.url + filled, headers=headers) as response:
        body = await response.read()
        assert status in (None, response.status)
    responses = document["paths"][path][verb.lower()]["responses"]
    described = responses.get(str(response.status), responses["default"])
    schema = described["content"][response.content_type]["schema"]
    if response.content_type == "application/json":
        _holds(schema, document["components"]["schemas"], json.loads(body))
    else:
        assert schema["type"] == "string"
    for name, header in described.get("headers", {}).items():
        if name in response.headers:
            text = response.headers[name]
            _holds(header["schema"], {}, int(text) if header["schema"]["type"] == "integer" else text)
        assert name in response.headers or not header.get("required")


@pytest.mark.parametrize("host", ["evil.example", "a b"])
async def test_every_path_may_refuse_a_stranger_as_described(node, host):
    document = await _paths(node)
    for path, verbs in document["paths"].items():
        for verb in verbs:
            filled = path.format(index=1, token="0" * 32, path="nothing")
            asked = node.http.request(verb, node.url + filled, headers={"Host": host})
            async with asked as response:
                assert response.status == 400
                schema = document["paths"][path][verb]["responses"]["default"]["content"]["application/json"]
                _holds(schema["schema"], document["components"]["schemas"], await response.json())


@pytest.mark.parametrize(
    "body",
    [
        '{"jsonrpc":"2.0","id":1,"method":"limits"}',
        '{"jsonrpc":"2.0","id":"a","method":"commit","params":[9]}',
        '[{"jsonrpc":"2.0","id":null,"method":"limits"},{"jsonrpc":"2.0","id":2,"method":"no"},1]',
        "{",
        "[]",
        "1",
    ],
)
async def test_what_is_posted_is_answered_in_the_described_envelope(node, body):
    document = await _paths(node)
    status, answer = await node.post(body)
    assert status == 200
    schema = document["paths"]["/"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    _holds(schema, document["components"]["schemas"], answer)
    for wrong in ({}, [], {"jsonrpc": "2.0", "id": 1}, {"jsonrpc": "2.0", "id": 1, "result": 1, "error": 1}):
        check = Draft202012Validator(schema | {"components": document["components"]})
        assert not check.is_valid(wrong)


# Parameters


async def test_null_stands_for_leaving_out_where_the_description_says_so(node):
    document = await node.call("rpc.discover")
    for method in document["methods"]:
        for param in method["params"]:
            takes_null = Draft202012Validator(param["schema"]).is_valid(None)
            assert takes_null == (not param["required"]), (method["name"], param["name"])
    assert await node.call("supply", asset=None) == await node.call("supply")
    assert (await node.call("history", encode_address(TO, Network.DEV), None, None))["items"]


# Errors and events


async def test_errors_have_data_of_the_described_form(node):
    document = await node.call("rpc.discover")
    assert not any("data" in error for error in document["components"]["errors"].values())
    for params in ([9], [0], []):
        error = (await node.answer("commit", *params))["error"]
        _holds(ref("ErrorData"), document["components"]["schemas"], error["data"])
    over = (await node.answer("submission_status", ids=["00" * 32] * 2000))["error"]
    _holds(ref("ErrorData"), document["components"]["schemas"], over["data"])
    assert over["data"]["limit"] == LIMITS.ids


async def test_every_subscription_tells_what_it_is_described_to_tell(node):
    document, schemas = await node.call("rpc.discover"), await _schemas(node)
    events = {one["name"]: one["x-event"] for one in document["methods"] if "x-event" in one}
    subscribing = {name for name in node.server.methods if name.startswith("subscribe_")}
    assert set(events) == subscribing
    assert all(event["$ref"].rpartition("/")[2] in schemas for event in events.values())
    key = node.ledger.treasury
    records = node.transfers(key, address_of(CAROL.public_key), 1, first=node.ledger.account(key).next_nonce)
    parameters = {
        "subscribe_commits": {"after": 0},
        "subscribe_transactions": {"address": encode_address(address_of(CAROL.public_key), Network.DEV)},
        "subscribe_finality": {"ids": [_id_of(node, records)]},
        "subscribe_dag": {},
    }
    assert set(parameters) == subscribing
    async with node.http.ws_connect(node.url + "/ws", max_msg_size=0) as socket:
        names = dict(zip(range(1, 1 + len(parameters)), parameters, strict=True))
        for number, name in names.items():
            call = {"jsonrpc": "2.0", "id": number, "method": name, "params": parameters[name]}
            await socket.send_str(json.dumps(call))
        await (await node.ledger.submit(records))
        told: set[str] = set()
        async with asyncio.timeout(SLOW_S):
            while told != subscribing:
                message = await socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT
                frame = json.loads(message.data)
                if "id" in frame:
                    assert "error" not in frame, frame
                    continue
                _holds(ref("Notification"), schemas, frame)
                name = names[frame["params"]["subscription"]]
                _holds(events[name], schemas, frame["params"]["result"])
                told.add(name)


async def test_a_subscription_that_fails_says_so_in_the_described_frame(node, monkeypatch):
    monkeypatch.setattr(node.ledger._running.lookups, "event", lambda _: None)
    monkeypatch.setattr(node.server.backend, "_event", None)
    async with node.http.ws_connect(node.url + "/ws") as socket:
        call = {"jsonrpc": "2.0", "id": 1, "method": "subscribe_commits", "params": {"after": 0}}
        await socket.send_str(json.dumps(call))
        await socket.receive_str()
        frame = json.loads(await socket.receive_str())
    schemas = await _schemas(node)
    _holds(ref("Notification"), schemas, frame)
    check = Draft202012Validator(ref("Notification") | {"components": {"schemas": schemas}})
    assert frame["params"]["error"]["code"] == "cursor_gone"
    for more in ({"result": {}}, {"result": {}, "error": None}):
        assert not check.is_valid(frame | {"params": frame["params"] | more})


def _id_of(node: Api, records) -> str:
    return transaction_ids(records, node.ledger.transaction_key).hex()
