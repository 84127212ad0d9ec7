"""The API in its own words: OpenRPC for its methods, OpenAPI for its paths. Both are made from the tables."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from cherrydag import __version__
from cherrydag.rpc.jsonrpc import ErrorCode
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.methods import Method
from cherrydag.rpc.openapi import openapi
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


class Documents(NamedTuple):
    """Both descriptions."""

    openrpc: dict[str, Any]
    openapi: dict[str, Any]


def documents(methods: Mapping[str, Method], limits: RpcLimits) -> Documents:
    """The descriptions of an API with these methods and limits."""
    return Documents(_openrpc(methods.values()), openapi(_TITLE, limits))


def result_schema(method: Method) -> Schema:
    """The schema of a method's result."""
    schema = ref(method.result)
    if method.is_list:
        schema = listed(schema)
    return nullable(schema) if method.is_nullable else schema


# OpenRPC


def _openrpc(methods: Iterable[Method]) -> dict[str, Any]:
    errors = {number.name: {"code": int(number), "message": text} for number, text in _ERRORS.items()}
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
    if method.event:
        described["x-event"] = ref(method.event)
    if method.needs_socket:
        described["tags"] = [{"name": "websocket", "description": "Only over a WebSocket, at /ws"}]
    return described


def _param(param: Param) -> dict[str, Any]:
    schema = dict(param.type.schema if param.is_required else nullable(param.type.schema))
    if isinstance(param.default, int | str):
        schema["default"] = param.default
    return {
        "name": param.name,
        "description": param.text,
        "required": param.is_required,
        "schema": schema,
    }
