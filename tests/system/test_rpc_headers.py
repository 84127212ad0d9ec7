"""Statuses and headers of the plain paths: what a browser's page may read, what answers depend on."""

import asyncio
import json

import pytest
from rpc_rig import BOB, Api, api

from cherrydag.address import address_of
from cherrydag.rpc import server as server_module
from cherrydag.rpc.explorer import Explorer

ORIGIN = "https://a.example"
EXPOSED = {"x-records", "x-submission", "x-total", "x-time", "retry-after"}
SCRIPT = "/explorer/script.js"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An explorer of a page and a script that gzip makes smaller."""
    root = tmp_path / "static"
    root.mkdir()
    (root / "index.html").write_bytes(b"<p>words</p>" * 50)
    (root / "script.js").write_bytes(b"answer = 42;" * 50)
    monkeypatch.setattr(server_module, "Explorer", lambda: Explorer(root))


async def raw(node: Api, verb: str, path: str, **headers: str):
    """Status, headers and body of a request of any verb."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with node.http.request(verb, node.url + path, headers=named) as response:
        return response.status, response.headers, await response.read()


def members(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/commits/9/rows", 404),
        ("GET", "/commits/0/rows", 400),
        ("GET", "/nothing", 404),
        ("PUT", "/submit", 405),
        ("POST", "/", 415),
        ("GET", "/ws", 400),
    ],
)
async def test_an_allowed_page_may_read_every_answer(tmp_path, verb, path, status):
    async with api(tmp_path / "l", origins=(ORIGIN,)) as node:
        got, headers, _ = await raw(node, verb, path, Origin=ORIGIN)
        assert (got, headers.get("Access-Control-Allow-Origin")) == (status, ORIGIN)
        assert members(headers["Access-Control-Expose-Headers"]) == EXPOSED
        assert "origin" in members(headers["Vary"])
        for origin in ({}, {"Origin": "https://b.example"}):
            assert "Access-Control-Allow-Origin" not in (await raw(node, verb, path, **origin))[1]


async def test_what_an_answer_depends_on_is_added_up(tmp_path, files):
    async with api(tmp_path / "l", origins=(ORIGIN,)) as node:
        assert members((await raw(node, "GET", SCRIPT))[1]["Vary"]) == {"accept-encoding"}
        told = members((await raw(node, "GET", SCRIPT, Origin=ORIGIN))[1]["Vary"])
        assert told == {"accept-encoding", "origin"}


async def test_the_address_alone_depends_on_what_is_accepted(tmp_path, files):
    """One resource: PUT is told the methods, GET without a page to accept that there is nothing else."""
    async with api(tmp_path / "l") as node:
        for accept, status in (
            ("application/json", 406),
            ("text/html;q=0", 406),
            ("text/html, */*;q=0.8", 200),
        ):
            got, headers, body = await raw(node, "GET", "/", Accept=accept)
            assert got == status and members(headers["Vary"]) == {"accept", "accept-encoding"}
            if got == 406:
                error = json.loads(body)["error"]
                assert (error["code"], error["data"]["code"]) == (-32600, "http_406")
                assert "POST" in error["message"] and "Allow" not in headers
        status, headers, _ = await raw(node, "PUT", "/")
        assert status == 405 and members(headers["Allow"]) == {"get", "head", "post"}


async def test_a_file_that_there_is_none_of_is_told_in_text_however_it_is_written(tmp_path, files):
    async with api(tmp_path / "l") as node:
        for name in ("x", "x%0Ay", "%0A", "x%0Dy"):
            status, headers, body = await raw(node, "GET", f"/explorer/{name}")
            assert (status, body) == (404, b"There is no such file.\n"), name
            assert "Content-Security-Policy" in headers


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("application/json;q=0.5, application/octet-stream", True),
        ("application/octet-stream, APPLICATION/JSON", True),
        ("application/json;q=0, application/octet-stream", False),
        ("application/jsonlines", False),
        ("application/octet-stream", False),
        ("*/*", False),
    ],
)
async def test_columns_come_to_who_accepts_them(tmp_path, accept, is_json):
    async with api(tmp_path / "l") as node:
        octets = node.transfers(node.ledger.treasury, address_of(BOB.public_key), 1).tobytes()
        headers = {"Content-Type": "application/octet-stream", "Accept": accept}
        async with node.http.post(f"{node.url}/submit", data=octets, headers=headers) as response:
            assert (response.content_type == "application/json") is is_json


async def test_a_request_that_is_no_websocket_says_why(tmp_path):
    async with api(tmp_path / "l") as node:
        for sent in ({}, {"Upgrade": "h2c\xe9" + "x" * 500}):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
            lines = ["GET /ws HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in sent.items())]
            writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            assert answer.split()[1] == b"400"
            error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
            assert (error["code"], error["data"]["code"]) == (-32600, "http_400")
            assert "upgrade" in error["message"].lower() and len(error["message"]) <= 200


async def test_what_is_not_there_is_not_found_and_what_was_there_is_gone(tmp_path):
    async with api(tmp_path / "l") as node:
        await (await node.ledger.transfer(node.ledger.treasury, BOB, 1))
        asked = [("/submissions/" + "0" * 32, 404, "submission_unknown")]
        asked += [("/commits/999/rows", 404, "commit_unknown"), ("/commits/0/rows", 400, "query")]
        for path, status, code in asked:
            got, answer = await node.get(path)
            assert (got, answer["error"]["data"]["code"]) == (status, code)
        node.ledger._running.lookups.event = lambda _: None
        got, answer = await node.get("/commits/1/rows")
        assert (got, answer["error"]["data"]["code"]) == (410, "cursor_gone")
        assert await node.error("commit", 1) == (-32000, "cursor_gone")  # a call's status stays 200
