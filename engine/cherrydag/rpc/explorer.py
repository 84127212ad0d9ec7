"""The explorer's pages: files of the package, read once, each with its headers. No path leads out of them.

A page at `/` comes with what it may load: scripts and styles of this origin, and connections to it.
"""

from __future__ import annotations

import gzip
import re
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from cherrydag import crypto
from cherrydag.rpc.choices import accepts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

PREFIX: Final = "/explorer/"

INDEX: Final = "index.html"

_ABSENT: Final = (
    "The explorer is not part of this installation: cherrydag/explorer/static has no index.html. The API "
    "is here all the same: POST JSON-RPC to /, see /openrpc.json.\n"
)

_NO_PAGE: Final = "there is a page here for who accepts text/html; calls come by POST"
_PAGE_VARY: Final = "Accept, Accept-Encoding"

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' ws:; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""ws: covers wss:, and is named since older browsers do not take a socket for a part of 'self'."""

_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_HASHED: Final = re.compile(r"assets/.+-[A-Za-z0-9_-]{8,}\.[a-z0-9]+")
"""What the build names after a hash of its content never changes."""

_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"

_GZIP: Final = ".gz"
_KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "map": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "wasm": "application/wasm",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}
"""By ending; what a machine's own table says would differ from node to node."""

_PACKED_ALREADY: Final = ("png", "woff2")
_GZIP_LEVEL: Final = 9
_TAG_BYTES: Final = 16


class Asset(NamedTuple):
    """A file as it is served. packed: with gzip, where that is smaller."""

    content: bytes
    packed: bytes | None
    kind: str
    tag: str
    caching: str


class Explorer:
    """Serves the files of a folder. root: None for those of the package."""

    def __init__(self, root: Traversable | None = None) -> None:
        self._root = root or resources.files("cherrydag").joinpath("explorer", "static")
        self._assets: Mapping[str, Asset] | None = None

    @property
    def assets(self) -> Mapping[str, Asset]:
        """All files by their paths; read when they are first asked for."""
        if self._assets is None:
            self._assets = dict(_assets(self._root))
        return self._assets

    async def index(self, request: web.Request) -> web.Response:
        """The page, for who names its kind; calls are posted here. A wildcard is not enough: programs send it
        that would take the page for an answer."""
        if not accepts(request.headers.get("Accept", ""), "text/html"):
            raise web.HTTPNotAcceptable(text=_NO_PAGE, headers={"Vary": _PAGE_VARY})
        response = self._answer(request, INDEX)
        response.headers["Vary"] = _PAGE_VARY
        return response

    async def asset(self, request: web.Request) -> web.Response:
        """One file."""
        return self._answer(request, request.match_info["path"])

    def _answer(self, request: web.Request, path: str) -> web.Response:
        asset = self.assets.get(path)
        if asset is None:
            words = "There is no such file.\n" if INDEX in self.assets else _ABSENT
            return web.Response(status=404, text=words, headers=_HEADERS)
        headers = {**_HEADERS, "ETag": asset.tag, "Cache-Control": asset.caching}
        if asset.packed is not None:
            headers["Vary"] = "Accept-Encoding"
        if asset.tag in re.findall(r'"[^"]*"', request.headers.get("If-None-Match", "")):
            return web.Response(status=304, headers=headers)
        body = asset.content
        if asset.packed is not None and accepts(request.headers.get("Accept-Encoding", ""), "gzip"):
            headers["Content-Encoding"] = "gzip"
            body = asset.packed
        return web.Response(body=body, headers={**headers, "Content-Type": asset.kind})


def _assets(root: Traversable) -> Iterator[tuple[str, Asset]]:
    files = dict(_files(root, ""))
    for path, file in sorted(files.items()):
        if path.endswith(_GZIP) and path.removesuffix(_GZIP) in files:
            continue
        content = file.read_bytes()
        ending = path.rpartition(".")[2]
        beside = files.get(path + _GZIP)
        packed = beside.read_bytes() if beside is not None else _pack(content, ending)
        tag = f'"{crypto.hash_bytes(content)[:_TAG_BYTES].hex()}"'
        caching = _FOR_EVER if _HASHED.fullmatch(path) else _ASK_AGAIN
        yield path, Asset(content, packed, _KINDS.get(ending, "application/octet-stream"), tag, caching)


def _pack(content: bytes, ending: str) -> bytes | None:
    if ending in _PACKED_ALREADY:
        return None
    packed = gzip.compress(content, _GZIP_LEVEL, mtime=0)
    return packed if len(packed) < len(content) else None


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield f"{prefix}{entry.name}", entry
