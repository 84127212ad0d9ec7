"""The explorer's files over HTTP: who gets them, with which headers, and that no path leads out of them."""

import asyncio
import gzip
from importlib import resources

import pytest
from rpc_rig import api

from cherrydag.rpc import server as server_module
from cherrydag.rpc.choices import accepts
from cherrydag.rpc.explorer import Explorer

PAGE = b"<!doctype html><title>cherrydag</title>" + b"<p>words</p>" * 50
SCRIPT = b"export const answer = 42;\n" * 40
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder as a build leaves it, and something beside it that is nobody's business."""
    root = tmp_path / "static"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_bytes(PAGE)
    (root / "assets" / "index-AbCd1234.js").write_bytes(SCRIPT)
    (root / "assets" / "icon-8f_X-9zQ.svg").write_bytes(b"<svg/>")
    (root / "assets" / "packed-00000000.css").write_bytes(b"a{}" * 100)
    (root / "assets" / "packed-00000000.css.gz").write_bytes(gzip.compress(b"a{}" * 100, mtime=7))
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setattr(server_module, "Explorer", lambda: Explorer(root))
    return root


async def fetch(node, path: str, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Accept-Encoding": "identity"} | named
    async with node.http.get(node.url + path, headers=sent) as response:
        return response.status, response.headers, await response.read()


async def test_a_browser_at_the_address_gets_the_page(tmp_path, files):
    async with api(tmp_path / "l") as node:
        status, headers, body = await fetch(node, "/", **HTML)
        assert (status, body) == (200, PAGE)
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Cache-Control"] == "no-cache"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "connect-src 'self' ws:" in policy
        assert "unsafe" not in policy and headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html;q=0", ""])
async def test_who_takes_no_page_is_told_to_post(tmp_path, files, accept):
    async with api(tmp_path / "l") as node:
        status, _, body = await fetch(node, "/", Accept=accept)
        assert status == 406 and b"POST" in body
        assert await node.call("status")


async def test_what_is_named_by_its_content_is_kept_for_ever(tmp_path, files):
    async with api(tmp_path / "l") as node:
        for name, kind, is_kept in (
            ("assets/index-AbCd1234.js", "text/javascript; charset=utf-8", True),
            ("assets/icon-8f_X-9zQ.svg", "image/svg+xml", True),
            ("assets/touch.png", "", None),
            ("index.html", "text/html; charset=utf-8", False),
        ):
            status, headers, body = await fetch(node, f"/explorer/{name}")
            if is_kept is None:
                assert status == 404 and body == b"There is no such file.\n"
                continue
            assert status == 200 and body == (files / name).read_bytes()
            assert headers["Content-Type"] == kind and headers["X-Content-Type-Options"] == "nosniff"
            assert ("immutable" in headers["Cache-Control"]) is is_kept


async def test_who_has_it_is_told_so(tmp_path, files):
    async with api(tmp_path / "l") as node:
        _, headers, _ = await fetch(node, "/", **HTML)
        tag = headers["ETag"]
        for known in (tag, f'"other", W/{tag}'):
            status, headers, body = await fetch(node, "/", **HTML, If_None_Match=known)
            assert (status, body, headers["ETag"]) == (304, b"", tag)
        assert (await fetch(node, "/", **HTML, If_None_Match='"other"'))[0] == 200
        _, headers, _ = await fetch(node, "/explorer/assets/index-AbCd1234.js")
        assert headers["ETag"] != tag


@pytest.mark.parametrize("name", ["index-AbCd1234.js", "packed-00000000.css"])
async def test_who_takes_gzip_gets_it(tmp_path, files, name):
    path, whole = f"/explorer/assets/{name}", (files / "assets" / name).read_bytes()
    async with api(tmp_path / "l") as node:
        async with node.http.get(node.url + path, headers={"Accept-Encoding": "br, gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Vary"] == "Accept-Encoding"
            assert int(response.headers["Content-Length"]) < len(whole)
            assert await response.read() == whole  # aiohttp unpacks it
        for refused in ("identity", "gzip;q=0"):
            _, headers, body = await fetch(node, path, Accept_Encoding=refused)
            assert "Content-Encoding" not in headers and body == whole
        # What gzip makes no smaller goes as it is.
        assert "Vary" not in (await fetch(node, "/explorer/assets/icon-8f_X-9zQ.svg"))[1]


@pytest.mark.parametrize(
    "path",
    [
        "/explorer/../secret.txt",
        "/explorer/assets/../../secret.txt",
        "/explorer/%2e%2e/secret.txt",
        "/explorer/..%2fsecret.txt",
        "/explorer/..%5csecret.txt",
        "/explorer//etc/passwd",
        "/explorer/%2fetc%2fpasswd",
        "/explorer/assets/index-AbCd1234.js%00",
        "/explorer/assets",
        "/explorer/",
        "/explorer/assets/packed-00000000.css.gz",
    ],
)
async def test_no_path_leads_out(tmp_path, files, path):
    async with api(tmp_path / "l") as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await writer.wait_closed()
        assert (
            answer.split(b" ", 2)[1] in (b"404", b"400") and b"secret" not in answer.split(b"\r\n\r\n", 1)[1]
        )


async def test_an_installation_without_it_says_so(tmp_path, files):
    for file in files.rglob("*"):
        if file.is_file():
            file.unlink()
    async with api(tmp_path / "l") as node:
        for path in ("/", "/explorer/assets/index-AbCd1234.js"):
            status, _, body = await fetch(node, path, **HTML)
            assert status == 404 and b"not part of this installation" in body and b"/openrpc.json" in body
        assert await node.call("status")


async def test_it_can_be_turned_off(tmp_path, files):
    async with api(tmp_path / "l", explorer=False) as node:
        assert (await fetch(node, "/", **HTML))[0] == 405
        assert (await fetch(node, "/explorer/index.html"))[0] == 404


async def test_a_page_of_another_site_does_not_get_it(tmp_path, files):
    async with api(tmp_path / "l") as node:
        assert (await fetch(node, "/", **HTML, Host="evil.example"))[0] == 400
        assert (await fetch(node, "/", **HTML, Origin="http://evil.example"))[0] == 400


def test_the_files_of_the_package_can_be_served():
    root = resources.files("cherrydag").joinpath("explorer", "static")
    assets = Explorer().assets
    assert ("index.html" in assets) == root.joinpath("index.html").is_file()
    for path, asset in assets.items():
        assert asset.content == root.joinpath(*path.split("/")).read_bytes()
        assert asset.packed is None or gzip.decompress(asset.packed) == asset.content


@pytest.mark.parametrize(
    ("header", "is_taken"),
    [
        ("gzip", True),
        ("br;q=1, GZIP ;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.001", True),
        ("xgzip", False),
        ("*", False),
        ("", False),
    ],
)
def test_a_choice_is_read_as_it_is_meant(header, is_taken):
    assert accepts(header, "gzip") is is_taken
