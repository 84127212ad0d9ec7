"""The parts of the API that need no node: parameters, watches, names of hosts, binary batches."""

import re
import resource
from base64 import b64encode
from contextlib import suppress

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.address import Network, encode_address
from cherrydag.errors import ConfigError, Rejected
from cherrydag.rpc import guard
from cherrydag.rpc.batches import split_batch
from cherrydag.rpc.guard import Guard, connections_that_fit, name_of
from cherrydag.rpc.jsonrpc import ErrorCode, RpcError
from cherrydag.rpc.params import (
    ADDRESS,
    AMOUNT,
    CURSOR,
    DIGEST,
    OCTETS,
    Param,
    Type,
    bind,
    choice,
    digests,
    integer,
    optional,
)
from cherrydag.rpc.watches import Watch

TEXT = encode_address(bytes(range(20)), Network.DEV)


def bound(kind: Type, value: object) -> object:
    return bind([Param("x", kind, "")], {"x": value}, Network.DEV)["x"]


def refusal(kind: Type, value: object) -> str:
    with pytest.raises(RpcError) as caught:
        bound(kind, value)
    assert caught.value.number in (ErrorCode.INVALID_PARAMS, ErrorCode.LIMIT)
    return caught.value.code


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (integer(1, 5), 1, 1),
        (integer(1, 5), 5, 5),
        (choice("a", "b"), "b", "b"),
        (AMOUNT, "0", 0),
        (AMOUNT, str(2**128 - 1), 2**128 - 1),
        (CURSOR, str(2**64 - 1), 2**64 - 1),
        (DIGEST, "aB" * 32, b"\xab" * 32),
        (ADDRESS, TEXT, bytes(range(20))),
        (ADDRESS, TEXT.upper(), bytes(range(20))),
        (OCTETS, "", b""),
        (OCTETS, "00ff", b"\0\xff"),
        *[(OCTETS, "base64:" + b64encode(b"abcdef"[:n]).decode(), b"abcdef"[:n]) for n in range(7)],
        (digests(2), ["00" * 32, "11" * 32], [bytes(32), b"\x11" * 32]),
    ],
)
def test_a_value_of_its_type_is_taken(kind, value, meant):
    assert bound(kind, value) == meant


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        (integer(1, 5), 0, "param_x"),
        (integer(1, 5), 6, "param_x"),
        (integer(0, 5), True, "param_x"),
        (integer(1, 5), 1.0, "param_x"),
        (integer(1, 5), "1", "param_x"),
        (choice("a", "b"), "c", "param_x"),
        (choice("a", "b"), ["a"], "param_x"),
        (AMOUNT, 5, "param_x"),
        (AMOUNT, "01", "param_x"),
        (AMOUNT, "-1", "param_x"),
        (AMOUNT, "+1", "param_x"),
        (AMOUNT, " 1", "param_x"),
        (AMOUNT, "1_0", "param_x"),
        (AMOUNT, "١", "param_x"),
        (AMOUNT, str(2**128), "param_x"),
        (AMOUNT, "9" * 40, "param_x"),
        (CURSOR, str(2**64), "param_x"),
        (DIGEST, "00" * 31, "param_x"),
        (DIGEST, "00" * 33, "param_x"),
        (DIGEST, "0x" + "00" * 31, "param_x"),
        (DIGEST, "zz" * 32, "param_x"),
        (DIGEST, "00 " * 21 + "0", "param_x"),
        (OCTETS, "0", "param_x"),
        (OCTETS, "0 0 ", "param_x"),
        (OCTETS, "base64:a", "param_x"),
        (OCTETS, "base64:ab\n=", "param_x"),
        (OCTETS, "base64:AAAA=", "param_x"),
        (OCTETS, "base64:AAAA==", "param_x"),
        (OCTETS, "base64:AAA", "param_x"),
        (OCTETS, "base64:AA=", "param_x"),
        (OCTETS, "base64:=", "param_x"),
        (OCTETS, "base64:AAAAAA==AAAA", "param_x"),
        (OCTETS, "base64:AA-_", "param_x"),
        (ADDRESS, TEXT[:-1] + "q", "address_checksum"),
        (ADDRESS, encode_address(bytes(20), Network.MAIN), "address_network"),
        (ADDRESS, "", "address_separator"),
        (ADDRESS, 5, "param_x"),
        (digests(2), "00", "param_x"),
        (digests(2), ["00"], "param_x"),
        (digests(2), ["00" * 32] * 3, "limit_ids"),
    ],
)
def test_a_value_of_another_type_is_refused(kind, value, code):
    assert refusal(kind, value) == code


NETWORKS = st.sampled_from(Network)
ADDRESSES = st.builds(encode_address, st.binary(min_size=20, max_size=20), NETWORKS)


@given(
    st.one_of(
        st.text("A=", max_size=12).map("base64:".__add__),
        st.text("aB9+/=-\n", max_size=9).map("base64:".__add__),
        st.text("0aF ", max_size=6),
    )
)
def test_octets_are_taken_if_they_are_of_the_described_form(text):
    is_described = re.search(str(OCTETS.schema["pattern"]), text) is not None and not text.endswith("\n")
    is_taken = False
    with suppress(RpcError):
        bound(OCTETS, text)
        is_taken = True
    assert is_taken == is_described


@given(ADDRESSES, st.booleans())
def test_every_address_is_of_the_described_form(text, is_upper):
    assert re.search(str(ADDRESS.schema["pattern"]), text.upper() if is_upper else text)


@given(ADDRESSES, st.integers(0, 60), st.sampled_from("1biou0qzA "), NETWORKS)
def test_what_is_not_of_an_address_s_form_is_not_taken(text, at, char, network):
    for wrong in (text[:at] + char + text[at + 1 :], text[:at] + char + text[at:], text[:at], text.title()):
        with suppress(RpcError):
            bind([Param("x", ADDRESS, "")], {"x": wrong}, network)
            assert re.search(str(ADDRESS.schema["pattern"]), wrong)


DECLARED = [Param("a", integer(0, 9), ""), optional(Param("b", integer(0, 9), ""), 4)]


def test_parameters_are_bound_by_name_and_by_position():
    assert bind(DECLARED, [1, 2], Network.DEV) == {"a": 1, "b": 2}
    assert bind(DECLARED, {"b": 2, "a": 1}, Network.DEV) == {"a": 1, "b": 2}
    assert bind(DECLARED, [1], Network.DEV) == {"a": 1, "b": 4}
    assert bind(DECLARED, {"a": 1, "b": None}, Network.DEV) == {"a": 1, "b": 4}


@pytest.mark.parametrize(
    ("given_params", "code"),
    [
        ([], "param_missing"),
        ({}, "param_missing"),
        ({"a": None}, "param_missing"),
        ([1, 2, 3], "params_count"),
        ({"a": 1, "c": 2}, "param_unknown"),
    ],
)
def test_missing_and_unknown_parameters_are_refused(given_params, code):
    with pytest.raises(RpcError) as caught:
        bind(DECLARED, given_params, Network.DEV)
    assert caught.value.code == code


# Watches


KEYS = st.lists(st.integers(0, 12), max_size=30)


@given(st.lists(st.tuples(st.integers(0, 3), KEYS, st.booleans()), max_size=8), KEYS)
def test_a_watch_finds_what_a_scan_finds(changes, rows):
    """Keys share their first eight bytes in threes, so heads alone do not decide."""

    def key(number: int) -> bytes:
        return (number // 3).to_bytes(8, "big") + number.to_bytes(12, "big")

    watch: Watch[int] = Watch(20)
    wanted: dict[bytes, dict[int, None]] = {}
    for waiter, numbers, is_added in changes:
        keys = [key(number) for number in numbers]
        (watch.add if is_added else watch.remove)(waiter, keys)
        for item in keys:
            if is_added:
                wanted.setdefault(item, {})[waiter] = None
            else:
                wanted.get(item, {}).pop(waiter, None)
    given_rows = np.frombuffer(b"".join(key(number) for number in rows), np.uint8).reshape(-1, 20)
    expected = [
        (row, key(number), list(wanted[key(number)]))
        for row, number in enumerate(rows)
        if wanted.get(key(number))
    ]
    assert [tuple(found) for found in watch.find(given_rows)] == expected
    assert len(watch) == sum(map(bool, wanted.values()))


# Hosts and origins


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:80", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:1", "[::1]"),
        ("[::1]", "[::1]"),
        ("a:b", ""),
        ("a:", ""),
        ("a:1:2", ""),
        ("[::1]x", ""),
        ("a:٣", ""),
        ("", ""),
        ("localhost@evil", "localhost@evil"),
    ],
)
def test_the_name_of_a_host_is_told_from_its_port(host, name):
    assert name_of(host) == name


@pytest.mark.parametrize("origin", ["*", "null", "name", "https://", "ftp://a", "https://a/", "https://a/b"])
def test_an_origin_is_a_scheme_and_a_name(origin):
    with pytest.raises(ConfigError, match="origins"):
        Guard("127.0.0.1", (), (origin,))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "Origin"),
        ("Accept-Encoding", "Accept-Encoding, Origin"),
        ("Accept, Accept-Encoding", "Accept, Accept-Encoding, Origin"),
        ("origin", "origin"),
    ],
)
def test_an_origin_is_added_to_what_an_answer_depends_on(before, after):
    response = web.Response(headers={} if before is None else {"Vary": before})
    Guard.allow(response, "https://a.example")
    Guard.allow(response, "https://a.example")
    assert response.headers.getall("Vary") == [after]


@pytest.mark.parametrize(("soft", "fit"), [(64, 1), (128, 1), (129, 1), (130, 2), (200, 72), (4096, 500)])
def test_connections_leave_descriptors_for_the_node(soft, fit, monkeypatch):
    monkeypatch.setattr(guard.resource, "getrlimit", lambda _: (soft, 4096))
    assert connections_that_fit(500) == fit


def test_without_a_limit_of_descriptors_all_connections_fit(monkeypatch):
    monkeypatch.setattr(guard.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, -1))
    assert connections_that_fit(500) == 500


# Batches


@pytest.mark.parametrize(
    ("size", "count", "records", "bodies"),
    [(0, None, 0, 0), (352, None, 2, 0), (352, 2, 2, 0), (360, 2, 2, 8), (176, 0, 0, 176), (0, 0, 0, 0)],
)
def test_a_batch_is_split_into_records_and_bodies(size, count, records, bodies):
    batch = split_batch(bytes(size), count)
    assert (len(batch.records), len(batch.bodies)) == (records, bodies)


@pytest.mark.parametrize(("size", "count"), [(1, None), (175, None), (177, None), (175, 1), (351, 2)])
def test_a_batch_that_is_not_whole_is_refused(size, count):
    with pytest.raises(Rejected) as caught:
        split_batch(bytes(size), count)
    assert caught.value.code == "submission_records"
