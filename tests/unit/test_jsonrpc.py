"""JSON-RPC without a socket: what is taken, what is refused and with which code, before and after parsing."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.errors import ConfigError, Overloaded, Rejected
from cherrydag.rpc.jsonrpc import (
    BadRequest,
    ErrorCode,
    Request,
    RpcError,
    encode_batch,
    encode_error,
    encode_result,
    parse,
    parse_json,
    shown,
)
from cherrydag.rpc.limits import RpcLimits

LIMITS = RpcLimits()


def refusal(body: bytes, limits: RpcLimits = LIMITS) -> tuple[ErrorCode, str]:
    """Number and code of the error that a body as a whole gives."""
    with pytest.raises(RpcError) as caught:
        parse(body, limits)
    return caught.value.number, caught.value.code


def one(**members: object) -> BadRequest | Request:
    parsed = parse(json.dumps({"jsonrpc": "2.0", "method": "m", "id": 1} | members).encode(), LIMITS)
    assert not isinstance(parsed, list)
    return parsed


# Requests


def test_a_request_is_taken_by_name_and_by_position():
    assert one(params={"a": 1}) == Request("m", {"a": 1}, 1, False)
    assert one(params=[1, "b"]) == Request("m", [1, "b"], 1, False)
    assert one() == Request("m", {}, 1, False)


def test_a_request_without_an_id_is_a_notification_and_one_with_null_is_not():
    parsed = parse(b'{"jsonrpc":"2.0","method":"m"}', LIMITS)
    assert isinstance(parsed, Request) and parsed.is_notification
    parsed = parse(b'{"jsonrpc":"2.0","method":"m","id":null}', LIMITS)
    assert isinstance(parsed, Request) and not parsed.is_notification


@pytest.mark.parametrize("request_id", ["", "a", "x" * 128, 0, -1, -(2**63), 2**64 - 1, None])
def test_an_id_is_text_an_integer_or_null(request_id):
    assert one(id=request_id).id == request_id
    assert json.loads(encode_result(request_id, 1))["id"] == request_id


@pytest.mark.parametrize("request_id", ["x" * 129, 1.5, True, [], {}, "\ud800"])
def test_another_id_is_refused_and_not_repeated(request_id):
    bad = one(id=request_id)
    assert isinstance(bad, BadRequest) and bad.id is None and bad.error.code == "request_id"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"jsonrpc": "1.0"}, "request_version"),
        ({"jsonrpc": 2.0}, "request_version"),
        ({"jsonrpc": None}, "request_version"),
        ({"method": 1}, "request_method"),
        ({"method": None}, "request_method"),
        ({"params": "a"}, "request_params"),
        ({"params": 1}, "request_params"),
        ({"params": None}, "request_params"),
        ({"extra": 1}, "request_member"),
    ],
)
def test_a_malformed_request_is_refused_under_its_id(members, code):
    bad = one(**members)
    assert isinstance(bad, BadRequest) and bad.id == 1
    assert bad.error.number is ErrorCode.INVALID_REQUEST and bad.error.code == code


@pytest.mark.parametrize("body", [b"1", b'"a"', b"null", b"true"])
def test_what_is_no_object_is_no_request(body):
    bad = parse(body, LIMITS)
    assert isinstance(bad, BadRequest) and bad.id is None and bad.error.code == "request"


# Batches


def test_a_batch_keeps_the_order_and_its_bad_members():
    parsed = parse(b'[{"jsonrpc":"2.0","method":"a","id":1},1,{"jsonrpc":"2.0","method":"b"}]', LIMITS)
    assert isinstance(parsed, list)
    assert [type(call) for call in parsed] == [Request, BadRequest, Request]


def test_an_empty_batch_is_an_invalid_request():
    assert refusal(b"[]") == (ErrorCode.INVALID_REQUEST, "batch_empty")


@pytest.mark.parametrize("count", [99, 100])
def test_a_batch_within_the_bound_is_taken(count):
    assert len(parse(b"[" + b",".join([b"1"] * count) + b"]", LIMITS)) == count


def test_a_batch_beyond_the_bound_is_refused_as_a_whole():
    assert refusal(b"[" + b",".join([b"1"] * 101) + b"]") == (ErrorCode.LIMIT, "limit_batch_calls")


# Bytes


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[NaN]",
        b"1e400",
        b"-1e400",
        b"1" * 33 + b".0",
        b"18446744073709551616",
        b"-9223372036854775809",
        b"1" * 5000,
        b"01",
        b"1 2",
        b'{"a":1,"a":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b'{"a":1,"\\u0061":2}',
        b'"\xff"',
        b'"\xc3"',
        b"\xef\xbb\xbf1",
        b'"\n"',
        b'"\\x"',
        b'"open',
        b'["' + b"[" * 40,
        b'["' + b'\\"' * 40 + b"[" * 40,
        b"]",
        b"]]]][[[[",
        b"// 1",
        b"tru",
    ],
)
def test_what_is_no_json_is_a_parse_error(body):
    assert refusal(body) == (ErrorCode.PARSE, "json")


@pytest.mark.parametrize(("size", "is_taken"), [(99, True), (100, True), (101, False)])
def test_the_bytes_of_a_body_are_bounded(size, is_taken):
    limits = replace(LIMITS, body_bytes=100)
    body = b'"' + b"a" * (size - 2) + b'"'
    if is_taken:
        assert parse_json(body, limits) == "a" * (size - 2)
    else:
        assert refusal(body, limits) == (ErrorCode.LIMIT, "limit_body_bytes")


@pytest.mark.parametrize(("depth", "is_taken"), [(31, True), (32, True), (33, False)])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("sibling", [b"", b",[[1],[2]]" * 40])
def test_the_depth_of_a_body_is_bounded(depth, is_taken, pair, sibling):
    opening, closing = pair
    body = b"[" + opening * (depth - 1) + b"1" + closing * (depth - 1) + sibling + b"]"
    if is_taken:
        parse_json(body, LIMITS)
    else:
        assert refusal(body) == (ErrorCode.LIMIT, "limit_depth")


def test_brackets_within_strings_are_no_depth():
    for text in ("[" * 1000, '\\"' + "[" * 1000, "\\\\" * 3 + "{" * 99):
        assert parse_json(json.dumps([text, [[1]]]).encode(), LIMITS) == [text, [[1]]]


@pytest.mark.parametrize(("count", "is_taken"), [(63, True), (64, True), (65, False)])
@pytest.mark.parametrize("token", [b",", b":", b"[", b"{"])
def test_the_tokens_of_a_body_are_bounded(count, is_taken, token):
    limits = replace(LIMITS, tokens=64)
    body = b'"' + token * (count - 2) + b'"'
    if is_taken:
        assert parse_json(body, limits) == token.decode() * (count - 2)
    else:
        assert refusal(body, limits) == (ErrorCode.LIMIT, "limit_tokens")


def test_bombs_end_before_the_parser():
    mib = LIMITS.body_bytes
    for body in (b"[" * mib, b"[]" * (mib // 2), b'"' * mib, b'{"a":' * (mib // 5), b'"' + b'\\"' * 500_000):
        assert refusal(body)[0] is ErrorCode.LIMIT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=60,
)


def nesting(value: object) -> int:
    """How deep arrays and objects stand in one another."""
    if isinstance(value, dict):
        return 1 + max(map(nesting, value.values()), default=0)
    return 1 + max(map(nesting, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.integers(1, 4), st.booleans())
def test_all_json_up_to_the_depth_is_taken_and_no_other(value, depth, is_ascii):
    limits = replace(LIMITS, depth=depth)
    body = json.dumps(value, ensure_ascii=is_ascii).encode()
    if nesting(value) <= depth:
        assert parse_json(body, limits) == value
    else:
        assert refusal(body, limits) == (ErrorCode.LIMIT, "limit_depth")


MEMBERS = st.sampled_from(["jsonrpc", "method", "params", "id", "more"])
NEAR_REQUESTS = st.dictionaries(MEMBERS, JSON | st.just("2.0")).map(json.dumps).map(str.encode)


@given(st.binary(max_size=64) | st.text('[]{}",:\\ 01eu-', max_size=64).map(str.encode) | NEAR_REQUESTS)
def test_any_bytes_get_an_answer(body):
    try:
        parsed = parse(body, LIMITS)
    except RpcError as error:
        answer = json.loads(encode_error(None, error))
        assert (answer["id"], answer["error"]["code"]) == (None, error.number)
        return
    for call in parsed if isinstance(parsed, list) else [parsed]:
        assert isinstance(call, Request | BadRequest)
        assert json.loads(encode_result(call.id, None)) == {"jsonrpc": "2.0", "id": call.id, "result": None}


# Answers


def test_answers_are_json_rpc():
    assert json.loads(encode_result("a", {"b": [1]})) == {"jsonrpc": "2.0", "id": "a", "result": {"b": [1]}}
    error = RpcError(ErrorCode.OVERLOADED, "calls_open", "full", limit=3, retry_after_ms=5)
    assert json.loads(encode_error(1, error)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {
            "code": -32001,
            "message": "full",
            "data": {"code": "calls_open", "limit": 3, "retry_after_ms": 5},
        },
    }
    assert json.loads(encode_batch([b"1", b"2"])) == [1, 2]


def test_refusals_of_the_ledger_keep_their_code():
    assert RpcError.of(Rejected("history_limit", "no")).as_dict()["data"] == {"code": "history_limit"}
    told = RpcError.of(Overloaded("full", limit=7, retry_after_ms=900)).as_dict()["data"]
    assert told == {"code": "overloaded", "limit": 7, "retry_after_ms": 900}
    overloaded = RpcError.of(Overloaded("full"))
    assert overloaded.number is ErrorCode.OVERLOADED and overloaded.retry_after_ms


def test_what_a_stranger_wrote_is_shown_short_and_in_ascii():
    assert shown("a\n\u202eb\ud800") == r"'a\n\u202eb\ud800'"
    assert len(shown("x" * 1000)) == 64


@pytest.mark.parametrize("name", list(LIMITS.as_dict()))
def test_a_limit_is_at_least_one(name):
    assert getattr(replace(LIMITS, **{name: 1}), name) == 1
    with pytest.raises(ConfigError, match=name):
        replace(LIMITS, **{name: 0})
