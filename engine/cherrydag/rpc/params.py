"""The types of parameters: what JSON each takes, as a schema and as a check, and what the method gets."""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from cherrydag.address import AddressError, Network, decode_address
from cherrydag.primitives import Digest
from cherrydag.rpc.jsonrpc import ErrorCode, Params, RpcError, over_limit, shown

Schema: TypeAlias = dict[str, Any]

_QUADS: Final = "([A-Za-z0-9+/]{4})"
_TAIL: Final = "[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}="

_HEX: Final = re.compile("(?:[0-9a-fA-F]{2})*+")
_DIGEST: Final = re.compile("[0-9a-fA-F]{64}")
_PREFIX: Final = re.compile("[0-9a-fA-F]{16,64}")
_BASE64_TEXT: Final = re.compile(f"{_QUADS}*+({_TAIL})?")
_DECIMAL: Final = re.compile("0|[1-9][0-9]{0,38}")


class WrongValue(Exception):  # noqa: N818 - caught by `bind`, which names the parameter
    """A value is not of its type. code: a stable one, if there is a closer one than the parameter's."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Type(NamedTuple):
    """schema: of its JSON. decode: from it to what the method takes; WrongValue, or RpcError for a limit."""

    schema: Schema
    decode: Callable[[Any, Network], Any]


class Param(NamedTuple):
    """A parameter. It is required unless it has a default, which is told as JSON and not decoded."""

    name: str
    type: Type
    text: str
    is_required: bool = True
    default: object = None


def optional(param: Param, default: object = None) -> Param:
    """The parameter, left out with this default; null stands for leaving it out."""
    return param._replace(is_required=False, default=default)


def bind(declared: Sequence[Param], given: Params, network: Network) -> dict[str, Any]:
    """The arguments of a method. RpcError if one is missing, unknown or wrong; it names the parameter."""
    named = _named(declared, given)
    bound: dict[str, Any] = {}
    for param in declared:
        value = named.get(param.name)
        if value is None:
            if param.is_required:
                raise _wrong("param_missing", f"{param.name}: it is required")
            bound[param.name] = param.default
            continue
        try:
            bound[param.name] = param.type.decode(value, network)
        except WrongValue as wrong:
            raise _wrong(wrong.code or f"param_{param.name}", f"{param.name}: {wrong}") from None
    return bound


def _named(declared: Sequence[Param], given: Params) -> Mapping[str, Any]:
    if isinstance(given, list):
        if len(given) > len(declared):
            raise _wrong("params_count", f"params: at most {len(declared)}, got {len(given)}")
        return dict(zip([param.name for param in declared], given, strict=False))
    names = {param.name for param in declared}
    if not given.keys() <= names:
        unknown = shown(min(given.keys() - names))
        raise _wrong("param_unknown", f"params: the method has no parameter {unknown}")
    return given


def _wrong(code: str, message: str) -> RpcError:
    return RpcError(ErrorCode.INVALID_PARAMS, code, message)


# Types


def integer(least: int, most: int) -> Type:
    """An integer within bounds."""

    def decode(value: Any, _: Network) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise WrongValue(f"expected an integer from {least} to {most}, got {shown(value)}")
        return value

    return Type({"type": "integer", "minimum": least, "maximum": most}, decode)


def choice(*words: str) -> Type:
    """One of a few words."""

    def decode(value: Any, _: Network) -> str:
        if not isinstance(value, str) or value not in words:
            raise WrongValue(f"expected one of {', '.join(words)}, got {shown(value)}")
        return value

    return Type({"type": "string", "enum": list(words)}, decode)


def _decimal(value: Any, _: Network) -> int:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value) or int(value) >= 2**128:
        raise WrongValue(f"expected a decimal string below 2^128, got {shown(value)}")
    return int(value)


def _digest(value: Any, _: Network) -> Digest:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise WrongValue(f"expected 64 hexadecimal digits, got {shown(value)}")
    return Digest(bytes.fromhex(value))


def _prefix(value: Any, _: Network) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise WrongValue(f"expected 16 to 64 hexadecimal digits, got {shown(value)}")
    return value.lower()


def _address(value: Any, network: Network) -> bytes:
    if not isinstance(value, str):
        raise WrongValue(f"expected the text of an address, got {shown(value)}")
    try:
        return decode_address(value, network)
    except AddressError as error:
        raise WrongValue(str(error), error.code) from None


def _cursor(value: Any, network: Network) -> int:
    number = _decimal(value, network)
    if number >= 2**64:
        raise WrongValue("it is none that this node gave")
    return number


def _hex(value: Any, _: Network) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise WrongValue(f"expected pairs of hexadecimal digits, got {shown(value)}")
    return bytes.fromhex(value)


def _octets(value: Any, network: Network) -> bytes:
    """Hexadecimal, or base64 behind "base64:"."""
    if not isinstance(value, str) or not value.startswith(_BASE64):
        return _hex(value, network)
    text = value[len(_BASE64) :]
    if not _BASE64_TEXT.fullmatch(text):
        raise WrongValue(f"expected base64 behind {_BASE64!r}, got {shown(value)}")
    return b64decode(text)


_BASE64: Final = "base64:"

_ADDRESS: Final = "^((test|dev)?cherry1q[02-9ac-hj-np-z]{38}|(TEST|DEV)?CHERRY1Q[02-9AC-HJ-NP-Z]{38})$"
"""Of any network; the checksum is not in it."""

AMOUNT: Final = Type({"type": "string", "pattern": "^(0|[1-9][0-9]{0,38})$"}, _decimal)
DIGEST: Final = Type({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}, _digest)
PREFIX: Final = Type({"type": "string", "pattern": "^[0-9a-fA-F]{16,64}$"}, _prefix)
ADDRESS: Final = Type({"type": "string", "pattern": _ADDRESS}, _address)
CURSOR: Final = Type({"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"}, _cursor)
OCTETS: Final = Type(
    {"type": "string", "pattern": f"^([0-9a-fA-F]{{2}})*$|^{_BASE64}{_QUADS}*({_TAIL})?$"}, _octets
)


def digests(count_max: int) -> Type:
    """A list of ids."""

    def decode(value: Any, network: Network) -> list[Digest]:
        if not isinstance(value, list):
            raise WrongValue(f"expected a list of ids, got {shown(value)}")
        if len(value) > count_max:
            raise over_limit("ids", "ids of one call", count_max, len(value))
        return [_digest(item, network) for item in value]

    return Type({"type": "array", "items": DIGEST.schema, "maxItems": count_max}, decode)
