"""The API in its own words: OpenRPC for its methods, OpenAPI for its paths. Both are made from the tables."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from cherrydag import __version__
from cherrydag.params import RECORD_BYTES
from cherrydag.rpc.batches import JSON, OCTETS, ROW_BYTES
from cherrydag.rpc.forms import ANSWER
from cherrydag.rpc.jsonrpc import ErrorCode
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.methods import Method
from cherrydag.rpc.params import Param
from cherrydag.rpc.schemas import SCHEMAS, Schema, listed, nullable, ref

_TITLE: Final = "cherrydag node"

_ERRORS: Final = {
    ErrorCode.PARSE: "The body is no JSON",
    ErrorCode.INVALID_REQUEST: "The JSON is no request",
    ErrorCode.METHOD_NOT_FOUND: "There is no such method here",
    ErrorCode.INVALID_PARAMS: "A parameter is missing, unknown or wrong",
    ErrorCode.INTERNAL: "The node could not",
    ErrorCode.REJECTED: "The ledger refuses; data.code says why",
    ErrorCode.OVERLOADED: "Come back after data.retry_after_ms",
    ErrorCode.LIMIT: "Too much of something; data.limit says how much is allowed",
    ErrorCode.UNAVAILABLE: "The node has stopped, or lacks what the method needs",
}

_ERROR_DATA: Final[Schema] = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "limit": {"type": "integer"},
        "retry_after_ms": {"type": "integer"},
    },
    "required": ["code"],
}


class Documents(NamedTuple):
    """Both descriptions."""

    openrpc: dict[str, Any]
    openapi: dict[str, Any]


def documents(methods: Mapping[str, Method], limits: RpcLimits) -> Documents:
    """The descriptions of an API with these methods and limits."""
    return Documents(_openrpc(methods.values()), _openapi(limits))


def result_schema(method: Method) -> Schema:
    """The schema of a method's result."""
    schema = ref(method.result)
    if method.is_list:
        schema = listed(schema)
    return nullable(schema) if method.is_nullable else schema


# OpenRPC


def _openrpc(methods: Iterable[Method]) -> dict[str, Any]:
    errors = {
        number.name: {"code": int(number), "message": text, "data": _ERROR_DATA}
        for number, text in _ERRORS.items()
    }
    return {
        "openrpc": "1.3.2",
        "info": {"title": _TITLE, "version": __version__, "license": {"name": "Apache-2.0"}},
        "methods": [_method(method) for method in methods],
        "components": {"schemas": SCHEMAS, "errors": errors},
    }


def _method(method: Method) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": method.name,
        "description": method.text,
        "paramStructure": "either",
        "params": [_param(param) for param in method.params],
        "result": {"name": "result", "schema": result_schema(method)},
        "errors": [{"$ref": f"#/components/errors/{number.name}"} for number in _ERRORS],
    }
    if method.needs_socket:
        described["tags"] = [{"name": "websocket", "description": "Only over a WebSocket, at /ws"}]
    return described


def _param(param: Param) -> dict[str, Any]:
    schema = dict(param.type.schema)
    if isinstance(param.default, int | str):
        schema["default"] = param.default
    return {
        "name": param.name,
        "description": param.text,
        "required": param.is_required,
        "schema": schema,
    }


# OpenAPI


def _openapi(limits: RpcLimits) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": {
            "/": {"post": _rpc(), "get": _page()},
            "/explorer/{path}": {"get": _file()},
            "/submit": {"post": _submit(limits)},
            "/submissions/{token}": {"get": _results(limits)},
            "/ws": {"get": _plain("JSON-RPC over a WebSocket, with subscriptions", {"101": "It is open"})},
            "/commits/{index}/rows": {"get": _rows(limits)},
            "/livez": {
                "get": _health("Whether the event loop turns in time", "loop_lag_ms", {"type": "integer"})
            },
            "/readyz": {
                "get": _health("Whether the node is of use: synced, writable, linked", "reasons", _REASONS)
            },
            "/metrics": {"get": _plain("Figures in the text format of Prometheus", {"200": "Figures"})},
            "/openrpc.json": {"get": _plain("The methods in OpenRPC", {"200": "The document"})},
            "/openapi.json": {"get": _plain("This document", {"200": "The document"})},
        },
        "components": {"schemas": {**SCHEMAS, "Error": _ERROR, "SubmissionColumns": _COLUMNS}},
    }


_REASONS: Final[Schema] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"code": {"type": "string"}, "text": {"type": "string"}},
        "required": ["code", "text"],
    },
}

_ERROR: Final[Schema] = {
    "type": "object",
    "properties": {
        "jsonrpc": {"type": "string"},
        "id": {"type": "null"},
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "integer"},
                "message": {"type": "string"},
                "data": _ERROR_DATA,
            },
            "required": ["code", "message", "data"],
        },
    },
    "required": ["jsonrpc", "id", "error"],
}

_NUMBERS: Final[Schema] = {"type": "array", "items": {"type": "integer"}}

_COLUMNS: Final[Schema] = {
    "type": "object",
    "properties": {
        "is_settled": {"type": "boolean"},
        "count": {"type": "integer"},
        "refused": {"type": "integer"},
        "ids": {"type": "string", "description": "All ids end to end, 64 digits each"},
        "codes": _NUMBERS,
        "phases": _NUMBERS,
        "statuses": _NUMBERS,
        "commit_indices": _NUMBERS,
        "positions": _NUMBERS,
        "refusals": {
            "type": "object",
            "description": "The name and the words of each code that occurs",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": ["is_settled", "count", "refused", "ids", "codes", "phases", "statuses"],
}


def _content(kind: str, schema: Schema) -> dict[str, Any]:
    return {"content": {kind: {"schema": schema}}}


def _answers(**described: dict[str, Any]) -> dict[str, Any]:
    """Responses by status, "s200" for 200, and the error for all others."""
    error = {"description": "An error", **_content(JSON, ref("Error"))}
    return {**{name[1:]: response for name, response in described.items()}, "default": error}


def _plain(summary: str, responses: Mapping[str, str]) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {code: {"description": text} for code, text in responses.items()},
    }


def _health(summary: str, member: str, schema: Schema) -> dict[str, Any]:
    body = {"type": "object", "properties": {member: schema}, "required": [member]}
    responses = {
        "200": {"description": "It is", **_content(JSON, body)},
        "503": {"description": "It is not", **_content(JSON, body)},
    }
    return {"summary": summary, "responses": responses}


def _rpc() -> dict[str, Any]:
    return {
        "summary": "JSON-RPC 2.0, one call or a batch; /openrpc.json has the methods",
        "requestBody": {"required": True, **_content(JSON, {})},
        "responses": _answers(
            s200={"description": "The answer", **_content(JSON, {})},
            s204={"description": "Nothing to answer: notifications alone"},
        ),
    }


_NO_FILE: Final = {"description": "There is none, or no explorer in this installation"}


def _page() -> dict[str, Any]:
    return {
        "summary": "The explorer, for who accepts text/html; not where api.explorer is false",
        "responses": _answers(s200={"description": "The page"}, s404=_NO_FILE),
    }


def _file() -> dict[str, Any]:
    return {
        "summary": "A file of the explorer's",
        "parameters": [{"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": _answers(
            s200={"description": "The file"}, s304={"description": "As by its ETag"}, s404=_NO_FILE
        ),
    }


def _query(name: str, schema: Schema, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


_OCTETS: Final[Schema] = {"type": "string", "format": "binary"}

_SUBMISSION: Final = {
    "headers": {
        "X-Records": {"description": "Number of rows", "schema": {"type": "integer"}},
        "X-Submission": {
            "description": "If a row can change yet: the token to ask /submissions with",
            "schema": {"type": "string"},
        },
    },
    "content": {
        OCTETS: {
            "schema": {
                **_OCTETS,
                "description": f"{ANSWER.itemsize} bytes a row: u8 code, u8 phase, u8 status, 5 zero, "
                "u64 place, little-endian",
            }
        },
        JSON: {"schema": ref("SubmissionColumns")},
    },
}


def _results(limits: RpcLimits) -> dict[str, Any]:
    return {
        "summary": "How far a submission has come; what is settled is told once",
        "parameters": [
            {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}},
            _query("wait_ms", {"type": "integer", "maximum": limits.wait_ms}, "How long to wait at most"),
        ],
        "responses": _answers(
            s200={"description": "No row can change any more", **_SUBMISSION},
            s202={"description": "Some rows can", **_SUBMISSION},
        ),
    }


def _submit(limits: RpcLimits) -> dict[str, Any]:
    return {
        "summary": f"Hand in n records of {RECORD_BYTES} bytes, and behind them their bodies",
        "parameters": [
            _query("wait", {"type": "string", "enum": ["accepted", "final"]}, "For what the answer waits"),
            _query("wait_ms", {"type": "integer", "maximum": limits.wait_ms}, "How long at most"),
            _query("room", {"type": "string", "enum": ["refuse", "wait"]}, "What if the mempool is full"),
            {
                "name": "X-Records",
                "in": "header",
                "required": False,
                "schema": {"type": "integer"},
                "description": "Number of records; needed where bodies follow",
            },
        ],
        "requestBody": {"required": True, **_content(OCTETS, {**_OCTETS, "maxLength": limits.submit_bytes})},
        "responses": _answers(
            s200={"description": "What was waited for has come", **_SUBMISSION},
            s202={"description": "The time is up before all were final", **_SUBMISSION},
        ),
    }


def _rows(limits: RpcLimits) -> dict[str, Any]:
    columns = f"n x {RECORD_BYTES} bytes of records, n x 32 of ids, n of statuses: n x {ROW_BYTES} in all"
    return {
        "summary": "Transactions of a commit, column by column; X-Records says n, X-Total all of the commit",
        "parameters": [
            {"name": "index", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}},
            _query("first", {"type": "integer"}, "First row"),
            _query("count", {"type": "integer", "maximum": limits.rows_count}, "Most rows"),
        ],
        "responses": _answers(
            s200={"description": columns, **_content(OCTETS, _OCTETS)},
        ),
    }
