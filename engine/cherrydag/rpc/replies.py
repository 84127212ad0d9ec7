"""Errors as answers of HTTP: each is an answer of JSON-RPC to nobody in particular."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from cherrydag.rpc.batches import JSON
from cherrydag.rpc.jsonrpc import ErrorCode, RpcError, encode_error

_STATUS: Final = {
    ErrorCode.PARSE: 400,
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.INVALID_PARAMS: 400,
    ErrorCode.METHOD_NOT_FOUND: 404,
    ErrorCode.INTERNAL: 500,
    ErrorCode.REJECTED: 400,
    ErrorCode.LIMIT: 413,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.UNAVAILABLE: 503,
}

_STATUS_OF_CODE: Final = {
    "media_type": 415,
    "submission_unknown": 404,
    "commit_unknown": 404,
    "cursor_gone": 410,
}
"""Where HTTP has a closer one than the number's."""

_KEPT_HEADERS: Final = ("Allow", "Vary")
_WORDS_MAX: Final = 200


def error_response(
    error: RpcError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error as HTTP. status: None for the one that fits. headers: of a refusal of the library's."""
    more = {name: headers[name] for name in _KEPT_HEADERS if name in headers} if headers else {}
    if error.retry_after_ms is not None:
        more["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    code = status or _STATUS_OF_CODE.get(error.code) or _STATUS[error.number]
    return web.Response(status=code, body=encode_error(None, error), content_type=JSON, headers=more)


def refusal_response(refused: web.HTTPException) -> web.Response:
    """A refusal of the HTTP library's in our form; its words may quote the request: cut, and in ASCII."""
    if refused.status in (404, 405):
        error = RpcError(ErrorCode.METHOD_NOT_FOUND, f"http_{refused.status}", refused.reason)
    else:
        words = " ".join((refused.text or refused.reason).split())[:_WORDS_MAX]
        said = words.encode("ascii", "replace").decode()
        error = RpcError(ErrorCode.INVALID_REQUEST, f"http_{refused.status}", said)
    return error_response(error, refused.status, refused.headers)


def media_type(message: str) -> RpcError:
    """A body of another kind than what is taken."""
    return RpcError(ErrorCode.INVALID_REQUEST, "media_type", message)


def bad_query(message: str) -> RpcError:
    """A wrong value in a path, its query or a header."""
    return RpcError(ErrorCode.INVALID_PARAMS, "query", message)
