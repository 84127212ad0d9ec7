"""The paths of the API in OpenAPI: what each takes, and what it answers with."""

from typing import Any, Final

from cherrydag import __version__
from cherrydag.params import RECORD_BYTES
from cherrydag.rpc.batches import JSON, OCTETS, ROW_BYTES
from cherrydag.rpc.forms import ANSWER
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.methods import COMMIT_MAX, ROW_MAX
from cherrydag.rpc.schemas import COUNT, FLAG, SCHEMAS, TEXT, VERSIONS, Schema, listed, ref

_HTML: Final = "text/html"
_PLAIN: Final = "text/plain"


def openapi(title: str, limits: RpcLimits) -> dict[str, Any]:
    """The document, for an API with these limits."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": {
            "/": {"post": _rpc(), "get": _page()},
            "/explorer/{path}": {"get": _file()},
            "/submit": {"post": _submit(limits)},
            "/submissions/{token}": {"get": _results(limits)},
            "/ws": {"get": _socket()},
            "/commits/{index}/rows": {"get": _rows(limits)},
            "/livez": {
                "get": _health("Whether the event loop turns in time", "is_alive", "loop_lag_ms", COUNT)
            },
            "/readyz": {
                "get": _health(
                    "Whether the node is of use: synced, writable, linked", "is_ready", "reasons", _REASONS
                )
            },
            "/metrics": {"get": _plain("Figures in the text format of Prometheus", "Figures", _PLAIN, TEXT)},
            "/openrpc.json": {"get": _plain("The methods in OpenRPC", "The document", JSON, _DOCUMENT)},
            "/openapi.json": {"get": _plain("This document", "The document", JSON, _DOCUMENT)},
        },
        "components": {
            "schemas": {
                **SCHEMAS,
                "ErrorObject": _ERROR_OBJECT,
                "Error": _ERROR,
                "Answer": _ANSWER,
                "SubmissionColumns": _COLUMNS,
            }
        },
    }


# Shapes

_DOCUMENT: Final[Schema] = {"type": "object"}
_OCTETS: Final[Schema] = {"type": "string", "format": "binary"}
_NUMBERS: Final[Schema] = {"type": "array", "items": {"type": "integer"}}

_REASONS: Final[Schema] = listed(
    {"type": "object", "properties": {"code": TEXT, "text": TEXT}, "required": ["code", "text"]}
)

_ERROR_OBJECT: Final[Schema] = {
    "type": "object",
    "properties": {"code": {"type": "integer"}, "message": TEXT, "data": ref("ErrorData")},
    "required": ["code", "message", "data"],
}

_ERROR: Final[Schema] = {
    "type": "object",
    "properties": {"jsonrpc": VERSIONS, "id": {"type": "null"}, "error": ref("ErrorObject")},
    "required": ["jsonrpc", "id", "error"],
}

_ANSWER: Final[Schema] = {
    "type": "object",
    "properties": {
        "jsonrpc": VERSIONS,
        "id": {"type": ["string", "integer", "null"]},
        "result": {"description": "As /openrpc.json says of the method"},
        "error": ref("ErrorObject"),
    },
    "required": ["jsonrpc", "id"],
    "additionalProperties": False,
    "oneOf": [{"required": ["result"]}, {"required": ["error"]}],
}

_COLUMNS: Final[Schema] = {
    "type": "object",
    "properties": {
        "is_settled": FLAG,
        "count": COUNT,
        "refused": COUNT,
        "ids": {"type": "string", "description": "All ids end to end, 64 digits each"},
        "codes": _NUMBERS,
        "phases": _NUMBERS,
        "statuses": _NUMBERS,
        "commit_indices": _NUMBERS,
        "positions": _NUMBERS,
        "refusals": {
            "type": "object",
            "description": "The name and the words of each code that occurs",
            "additionalProperties": {"type": "array", "items": TEXT},
        },
    },
    "required": ["is_settled", "count", "refused", "ids", "codes", "phases", "statuses"],
}


# Parts of an operation


def _content(**kinds: Schema) -> dict[str, Any]:
    return {"content": {_KINDS[name]: {"schema": schema} for name, schema in kinds.items()}}


_KINDS: Final = {"json": JSON, "octets": OCTETS, "html": _HTML, "plain": _PLAIN, "any": "*/*"}


def _header(text: str, schema: Schema, *, is_required: bool = True) -> dict[str, Any]:
    return {"description": text, "required": is_required, "schema": schema}


_ERROR_HEADERS: Final = {
    "Retry-After": _header("Of an overload: seconds until it is worth coming back", COUNT, is_required=False),
    "Allow": _header("Of status 405: the methods that there are", TEXT, is_required=False),
}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "headers": _ERROR_HEADERS, **_content(json=ref("Error"))}


def _answers(**described: dict[str, Any]) -> dict[str, Any]:
    """Responses by status, "s200" for 200, and the error for all others: the guard's, at every path."""
    return {**{name[1:]: response for name, response in described.items()}, "default": _error("An error")}


def _query(name: str, schema: Schema, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _place(name: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _number(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


# Operations


def _plain(summary: str, text: str, kind: str, schema: Schema) -> dict[str, Any]:
    made = {"description": text, "content": {kind: {"schema": schema}}}
    return {"summary": summary, "responses": _answers(s200=made)}


def _health(summary: str, flag: str, member: str, schema: Schema) -> dict[str, Any]:
    body = {"type": "object", "properties": {flag: FLAG, member: schema}, "required": [flag, member]}
    responses = _answers(
        s200={"description": "It is", **_content(json=body)},
        s503={"description": "It is not", **_content(json=body)},
    )
    return {"summary": summary, "responses": responses}


def _rpc() -> dict[str, Any]:
    answer = {"oneOf": [ref("Answer"), listed(ref("Answer")) | {"minItems": 1}]}
    return {
        "summary": "JSON-RPC 2.0, one call or a batch; /openrpc.json has the methods",
        "requestBody": {"required": True, **_content(json={})},
        "responses": _answers(
            s200={"description": "The answer, or those of a batch", **_content(json=answer)},
            s204={"description": "Nothing to answer: notifications alone"},
        ),
    }


def _socket() -> dict[str, Any]:
    return {
        "summary": "JSON-RPC over a WebSocket, with subscriptions",
        "responses": _answers(
            s101={"description": "It is open"},
            s400=_error("The request asks for no WebSocket, or comes from a stranger"),
            s503=_error("As many are open as may be"),
        ),
    }


_NO_FILE: Final = {
    "description": "There is none, or no explorer in this installation; an error where it is turned off",
    **_content(plain=TEXT, json=ref("Error")),
}
_SAME_FILE: Final = {"description": "As by its ETag"}


def _page() -> dict[str, Any]:
    return {
        "summary": "The explorer, for who accepts text/html; not where api.explorer is false",
        "responses": _answers(
            s200={"description": "The page", **_content(html=TEXT)},
            s304=_SAME_FILE,
            s404=_NO_FILE,
            s406=_error("Accept does not name text/html"),
        ),
    }


def _file() -> dict[str, Any]:
    return {
        "summary": "A file of the explorer's",
        "parameters": [_place("path", TEXT)],
        "responses": _answers(
            s200={"description": "The file", **_content(any=_OCTETS)}, s304=_SAME_FILE, s404=_NO_FILE
        ),
    }


_TOKEN: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}

_ROWS: Final[Schema] = {
    **_OCTETS,
    "description": f"{ANSWER.itemsize} bytes a row: u8 code, u8 phase, u8 status, 5 zero, "
    "u64 place, little-endian",
}

_SUBMISSION: Final = {
    "headers": {
        "X-Records": _header("Number of rows", COUNT),
        "X-Submission": _header(
            "If a row can change yet: the token to ask /submissions with", _TOKEN, is_required=False
        ),
    },
    **_content(octets=_ROWS, json=ref("SubmissionColumns")),
}


def _results(limits: RpcLimits) -> dict[str, Any]:
    return {
        "summary": "How far a submission has come; what is settled is told once",
        "parameters": [
            _place("token", _TOKEN),
            _query("wait_ms", _number(0, limits.wait_ms), "How long to wait at most"),
        ],
        "responses": _answers(
            s200={"description": "No row can change any more", **_SUBMISSION},
            s202={"description": "Some rows can", **_SUBMISSION},
            s404=_error("Its results are not kept here; hand the same transactions in again"),
        ),
    }


def _submit(limits: RpcLimits) -> dict[str, Any]:
    return {
        "summary": f"Hand in n records of {RECORD_BYTES} bytes, and behind them their bodies",
        "parameters": [
            _query("wait", {"type": "string", "enum": ["accepted", "final"]}, "For what the answer waits"),
            _query("wait_ms", _number(0, limits.wait_ms), "How long at most"),
            _query("room", {"type": "string", "enum": ["refuse", "wait"]}, "What if the mempool is full"),
            {
                "name": "X-Records",
                "in": "header",
                "required": False,
                "schema": _number(0, limits.submit_bytes),
                "description": "Number of records; needed where bodies follow",
            },
        ],
        "requestBody": {
            "required": True,
            **_content(octets={**_OCTETS, "maxLength": limits.submit_bytes}),
        },
        "responses": _answers(
            s200={"description": "What was waited for has come", **_SUBMISSION},
            s202={"description": "The time is up before all were final", **_SUBMISSION},
        ),
    }


def _rows(limits: RpcLimits) -> dict[str, Any]:
    columns = f"n x {RECORD_BYTES} bytes of records, n x 32 of ids, n of statuses: n x {ROW_BYTES} in all"
    headers = {
        "X-Records": _header("Number of rows here", COUNT),
        "X-Total": _header("Number of rows of the commit", COUNT),
        "X-Time": _header("The commit's time in seconds", COUNT),
    }
    return {
        "summary": "Transactions of a commit, column by column; X-Records says n, X-Total all of the commit",
        "parameters": [
            _place("index", _number(1, COMMIT_MAX)),
            _query("first", _number(0, ROW_MAX), "First row"),
            _query("count", _number(1, limits.rows_count), "Most rows"),
        ],
        "responses": _answers(
            s200={"description": columns, "headers": headers, **_content(octets=_OCTETS)},
            s404=_error("There is no such commit yet"),
            s410=_error("It is not kept any more"),
        ),
    }
