"""The API of a node, from the description that it serves."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

from cherrydag.execution.accounts import Status
from cherrydag.mempool import AddStatus
from cherrydag.rpc.description import Documents, documents
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.methods import table as methods_table
from cherrydag.rpc.params import ADDRESS, OCTETS
from cherrydag.rpc.socket_methods import socket_table
from cherrydag.runtime.submissions import FAR_CODE, SIGNATURE_CODE, UNFUNDED_CODE, describe
from cherrydag.transaction import RecordFault
from manual.markdown import code, table, texts_below

_Schema: TypeAlias = Mapping[str, Any]

_PATTERNS = {
    "^([0-9a-f]{2})*$": "hex",
    "^[0-9a-f]{64}$": "hex, 32 bytes",
    "^(0|[1-9][0-9]{0,38})$": "decimal text",
    ADDRESS.schema["pattern"]: "address",
    OCTETS.schema["pattern"]: 'hex, or base64 behind "base64:"',
}


@cache
def _documents() -> Documents:
    limits = RpcLimits()
    return documents({**methods_table(limits), **socket_table(limits)}, limits)


def methods() -> str:
    """Every method with its parameters and its result."""
    return "\n\n".join(map(_method, _documents().openrpc["methods"]))


def _method(method: _Schema) -> str:
    parts = [f"### {method['name']}", method["description"]]
    if "tags" in method:
        parts.append("Only over a WebSocket, at `/ws`.")
    rows = [
        (
            code(param["name"]),
            _kind(param["schema"]),
            "" if param["required"] else code(param["schema"].get("default", "left out")),
            param["description"],
        )
        for param in method["params"]
    ]
    if rows:
        parts.append(table(("parameter", "type", "default", "meaning"), rows))
    return "\n\n".join([*parts, f"Result: {_kind(method['result']['schema'])}."])


def results() -> str:
    """Every object that a result may be."""
    schemas = _documents().openrpc["components"]["schemas"]
    return "\n\n".join(_object(name, schema) for name, schema in schemas.items() if name != "Document")


def _object(name: str, schema: _Schema) -> str:
    if "properties" not in schema:
        return f"### {name} object\n\nAn object of figures by name."
    required = set(schema["required"])
    rows = [
        (code(member), _kind(kind), "" if member in required else "may be missing")
        for member, kind in schema["properties"].items()
    ]
    return f"### {name} object\n\n{table(('member', 'type', ''), rows)}"


def errors() -> str:
    """The numbers of errors."""
    named = _documents().openrpc["components"]["errors"]
    rows = [(code(one["code"]), name.lower(), one["message"]) for name, one in named.items()]
    return table(("code", "name", "meaning"), rows)


def paths() -> str:
    """All that is served beside JSON-RPC."""
    rows = [
        (verb.upper(), code(path), one["summary"])
        for path, verbs in _documents().openapi["paths"].items()
        for verb, one in verbs.items()
    ]
    return table(("verb", "path", "what it is"), rows)


def codes() -> str:
    """Why a transaction is not taken, and what became of one that is final."""
    words, reasons = texts_below(AddStatus), texts_below(Status)
    refused = [(int(one), code(describe(one)[0]), words.get(one.name, "")) for one in AddStatus]
    numbers = [SIGNATURE_CODE, UNFUNDED_CODE, FAR_CODE, *[64 + fault for fault in RecordFault if fault]]
    refused += [(number, code(describe(number)[0]), describe(number)[1]) for number in numbers]
    final = [
        (int(one), code(one.name.lower()), "yes" if one.is_charged else "no", reasons.get(one.name, ""))
        for one in Status
        if one
    ]
    return "\n\n".join(
        [
            table(("code", "name", "meaning"), refused),
            "Statuses of what is final. One that costs nothing has left no trace.",
            table(("status", "name", "nonce used, fee paid", "meaning"), final),
        ]
    )


def _kind(schema: _Schema) -> str:
    """A type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()}-object)"
    if "oneOf" in schema:
        return " or ".join(map(_kind, schema["oneOf"]))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_kind(schema['items'])}"
    if kind == "string":
        return ", ".join(_text_bounds(schema)) or "text"
    if kind == "integer":
        least, most = schema.get("minimum"), schema.get("maximum")
        if least is not None and most is not None:
            return f"integer, {least:,} to {most:,}"
        return "integer" if least is None else f"integer from {least:,}"
    if kind == "object" and "properties" in schema:
        return "{" + ", ".join(f"{name}: {_kind(one)}" for name, one in schema["properties"].items()) + "}"
    return {"boolean": "true or false", "null": "null", "object": "object"}[str(kind)]


def _text_bounds(schema: _Schema) -> Iterator[str]:
    if "enum" in schema:
        yield " or ".join(code(one) for one in schema["enum"])
    if "pattern" in schema:
        yield _PATTERNS.get(schema["pattern"], f"text, {code(schema['pattern'])}")
    if "minLength" in schema:
        yield f"text of {schema['minLength']} to {schema['maxLength']} characters"
