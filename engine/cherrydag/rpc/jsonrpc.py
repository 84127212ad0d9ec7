"""JSON-RPC 2.0: bytes to requests, results and errors to bytes. Strict, bounded, and without a socket.

A body is looked at before it is parsed: its size, its depth and the number of its tokens. Parsing refuses
what readers disagree about: a key that occurs twice, NaN and infinities, integers beyond 64 bits.
"""

import json
import re
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import orjson

from cherrydag.errors import CherrydagError, Overloaded, Rejected
from cherrydag.rpc.limits import RpcLimits

VERSION: Final = "2.0"

RequestId: TypeAlias = str | int | None
Params: TypeAlias = dict[str, Any] | list[Any]

_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""Every string, and one that does not end; it matches at every quote, so a search is linear."""

_STEPS: Final = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1

_MEMBERS: Final = frozenset(("jsonrpc", "method", "params", "id"))
_INTEGER_CHARS_MAX: Final = 20
_FRACTION_CHARS_MAX: Final = 32
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1


class ErrorCode(IntEnum):
    """The numbers of errors: those of JSON-RPC, and four of the implementation-defined range."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    REJECTED = -32000
    """The ledger refuses; error.data.code says why."""
    OVERLOADED = -32001
    """Come back later; error.data.retry_after_ms says when."""
    LIMIT = -32002
    """Too much of something; error.data names the limit."""
    UNAVAILABLE = -32003
    """The node has stopped, or lacks what the method needs."""


class RpcError(CherrydagError):
    """An answer that is an error. code: stable, for programs; limit, retry_after_ms: where they help."""

    def __init__(
        self,
        number: ErrorCode,
        code: str,
        message: str,
        *,
        limit: int | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.number = number
        self.code = code
        self.limit = limit
        self.retry_after_ms = retry_after_ms

    @classmethod
    def of(cls, error: Rejected | Overloaded) -> "RpcError":
        """A refusal of the ledger's."""
        if isinstance(error, Overloaded):
            after_ms = error.retry_after_ms or RETRY_AFTER_MS
            return cls(
                ErrorCode.OVERLOADED, "overloaded", str(error), limit=error.limit, retry_after_ms=after_ms
            )
        return cls(ErrorCode.REJECTED, str(error.code), str(error))

    def as_dict(self) -> dict[str, Any]:
        """The error object."""
        data: dict[str, Any] = {"code": self.code}
        if self.limit is not None:
            data["limit"] = self.limit
        if self.retry_after_ms is not None:
            data["retry_after_ms"] = self.retry_after_ms
        return {"code": int(self.number), "message": str(self), "data": data}


RETRY_AFTER_MS: Final = 250
"""When to come back after a refusal for lack of room: a commit or two later."""


class Request(NamedTuple):
    """One call. params: by name or by position. is_notification: nobody wants the answer."""

    method: str
    params: Params
    id: RequestId
    is_notification: bool


class BadRequest(NamedTuple):
    """What stands where a request should; id: its id, if that much could be read."""

    id: RequestId
    error: RpcError


Call: TypeAlias = Request | BadRequest


def over_limit(name: str, what: str, limit: int, got: int | None = None) -> RpcError:
    """The error for too much of something."""
    shown = "" if got is None else f", got {got}"
    return RpcError(ErrorCode.LIMIT, f"limit_{name}", f"{what}: at most {limit}{shown}", limit=limit)


def parse(body: bytes, limits: RpcLimits) -> Call | list[Call]:
    """The request, or the requests of a batch, in a body of UTF-8.

    Raises RpcError if there is nothing to answer one by one: no JSON, a limit, an empty batch.
    """
    document = parse_json(body, limits)
    if not isinstance(document, list):
        return _request(document, limits)
    if not document:
        raise RpcError(ErrorCode.INVALID_REQUEST, "batch_empty", "a batch has at least one call")
    if len(document) > limits.batch_calls:
        raise over_limit("batch_calls", "calls of a batch", limits.batch_calls, len(document))
    return [_request(item, limits) for item in document]


def parse_json(body: bytes, limits: RpcLimits) -> Any:
    """The value that a body of JSON spells. Raises RpcError for anything else, in bounded time."""
    _check_shape(body, limits)
    try:
        return _DECODER.decode(body.decode())
    except ValueError as error:
        raise RpcError(ErrorCode.PARSE, "json", f"this is no JSON: {error}") from None


def _check_shape(body: bytes, limits: RpcLimits) -> None:
    """Size, tokens and depth. What counts as structure is what the parser would meet before it gives up."""
    if len(body) > limits.body_bytes:
        raise over_limit("body_bytes", "bytes of a body", limits.body_bytes, len(body))
    opened = body.count(b"[") + body.count(b"{")
    tokens = opened + body.count(b'"') + body.count(b",") + body.count(b":")
    if tokens > limits.tokens:
        raise over_limit("tokens", "tokens of a body", limits.tokens, tokens)
    if opened > limits.depth:
        steps = _STEPS[np.frombuffer(_STRINGS.sub(b"", body), np.uint8)]
        depth = int(np.cumsum(steps, dtype=np.int32).max(initial=0))
        if depth > limits.depth:
            raise over_limit("depth", "depth of a body", limits.depth, depth)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice in an object")
    return made


def _integer(text: str) -> int:
    if len(text) > _INTEGER_CHARS_MAX or not _INTEGER_MIN <= (value := int(text)) <= _INTEGER_MAX:
        raise ValueError("an integer is beyond 64 bits")
    return value


def _fraction(text: str) -> float:
    if len(text) > _FRACTION_CHARS_MAX or abs(value := float(text)) == float("inf"):
        raise ValueError("a number is out of range")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)


def _request(item: Any, limits: RpcLimits) -> Call:
    if not isinstance(item, dict):
        return _bad(None, "request", "a request is an object")
    request_id = item.get("id")
    if not _is_id(request_id, limits):
        wanted = f"a string of at most {limits.id_chars} characters, an integer or null"
        return _bad(None, "request_id", f"id: expected {wanted}")
    if item.get("jsonrpc") != VERSION:
        return _bad(request_id, "request_version", f'jsonrpc: expected "{VERSION}"')
    method, params = item.get("method"), item.get("params", {})
    if not isinstance(method, str):
        return _bad(request_id, "request_method", "method: expected a string")
    if not isinstance(params, dict | list):
        return _bad(request_id, "request_params", "params: expected an array or an object")
    if not item.keys() <= _MEMBERS:
        unknown = shown(min(item.keys() - _MEMBERS))
        return _bad(request_id, "request_member", f"a request has no member {unknown}")
    return Request(method, params, request_id, "id" not in item)


def _is_id(value: Any, limits: RpcLimits) -> bool:
    if isinstance(value, str):
        return len(value) <= limits.id_chars and not any("\ud800" <= char <= "\udfff" for char in value)
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _bad(request_id: RequestId, code: str, message: str) -> BadRequest:
    return BadRequest(request_id, RpcError(ErrorCode.INVALID_REQUEST, code, message))


def shown(value: object) -> str:
    """A stranger's value within a message: short, and ASCII alone."""
    text = ascii(value)
    return text if len(text) <= 64 else text[:60] + " ..."


def encode_result(request_id: RequestId, result: object) -> bytes:
    """The answer with a result of dicts, lists, text, integers and booleans."""
    return orjson.dumps({"jsonrpc": VERSION, "id": request_id, "result": result})


def encode_error(request_id: RequestId, error: RpcError) -> bytes:
    """The answer that is an error."""
    return orjson.dumps({"jsonrpc": VERSION, "id": request_id, "error": error.as_dict()})


def encode_batch(answers: list[bytes]) -> bytes:
    """The answers of a batch as one array."""
    return b"[" + b",".join(answers) + b"]"
