"""Messages as frames: canonical, bounded, total."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import MESSAGES, VECTORS, encoded, golden
from vertices import commit, digest, operator_vertex, refs, tip, validator_vertex, with_bodies, zeros

from cherrydag.codec import CodecFault, decode_vertex, encode_vertex
from cherrydag.errors import PeerFault, ShapeError
from cherrydag.gossip.message_codec import (
    ANSWER_BYTES_MAX,
    ANSWERS,
    CONTROL_BYTES_MAX,
    FRAME_HEAD,
    NEWEST_VERTICES_MAX,
    MessageFault,
    MessageKind,
    body_bytes_max,
    decode_message,
    encode_message,
)
from cherrydag.gossip.messages import (
    Announce,
    Commits,
    GetCommits,
    GetNewest,
    GetVertices,
    Graft,
    Message,
    Newest,
    Prune,
    Push,
    Vertices,
)
from cherrydag.params import (
    ANNOUNCE_REFS_MAX,
    COMMIT_SYNC_BATCH,
    COMMITTEE_MAX,
    FETCH_REFS_MAX,
    GRAFT_REFS_MAX,
    VERTEX_BYTES_MAX,
)
from cherrydag.refs import OperatorRef, VertexRef

BODIES = {name: (encode_message(message).kind, encoded(message)[5:]) for name, message in MESSAGES.items()}
kinds = pytest.mark.parametrize("name", MESSAGES)


def fault(kind: int, body: bytes) -> str | None:
    """The code with which a body is refused, or None; a message must have the same body again."""
    try:
        message = decode_message(kind, body)
    except PeerFault as error:
        assert isinstance(error.code, MessageFault | CodecFault)
        assert str(error)
        return error.code
    assert encoded(message) == FRAME_HEAD.pack(len(body), kind) + body
    return None


OUTCOMES = frozenset({None, *MessageFault, *CodecFault})


def put(body: bytes, at: int, value: int, width: int) -> bytes:
    return body[:at] + value.to_bytes(width, "little") + body[at + width :]


# Layout


def test_golden_vectors() -> None:
    """To change them on purpose: python tests/messages.py --write."""
    assert golden() == json.loads(VECTORS.read_text())


def test_every_kind_has_a_golden_message() -> None:
    assert {kind for kind, _ in BODIES.values()} == set(MessageKind)


@kinds
def test_a_message_is_what_was_sent(name: str) -> None:
    kind, body = BODIES[name]
    for given_as in (body, bytearray(body), memoryview(b"x" + body)[1:]):
        assert decode_message(kind, given_as) == MESSAGES[name]


def test_every_byte_of_the_small_messages_is_where_the_layout_says() -> None:
    number = bytes([8, 7, 6, 5, 4, 3, 2, 1])
    assert encoded(GetCommits(0x0102030405060708, 9, 10)) == (
        bytes([24, 0, 0, 0, 19]) + number + bytes([9, *bytes(7), 10, *bytes(7)])
    )  # fmt: skip
    assert encoded(GetNewest(0x0102030405060708, 0x0201)) == bytes([10, 0, 0, 0, 21]) + number + b"\x01\x02"
    asked = GetVertices(1, (OperatorRef(3, digest("key"), digest("t")), VertexRef(1, 2, digest("a"))))
    assert encoded(asked) == (
        bytes([118, 0, 0, 0, 17]) + bytes([1, *bytes(7), 2, 0])
        + bytes([2, 3, 0, 0, 0]) + digest("key") + digest("t") + bytes([1, 1, 0, 0, 0, 2, 0]) + digest("a")
    )  # fmt: skip


def test_vertices_lie_one_after_another_behind_their_sizes() -> None:
    frames = [encode_vertex(validator_vertex()), encode_vertex(operator_vertex(payload=with_bodies([3])))]
    sizes = b"".join(len(frame).to_bytes(4, "little") for frame in frames)
    answer = Vertices(7, tuple(map(decode_vertex, frames)))
    assert encoded(answer)[5:] == bytes([7, *bytes(7), 2, 0]) + sizes + b"".join(frames)
    newest = Newest(7, 0, (validator_vertex(),))
    assert encoded(newest)[5:] == bytes([7, *bytes(7), 0, 0, 1, 0]) + sizes[:4] + frames[0]
    commits = Commits(7, (commit(),), (validator_vertex(),))
    assert encoded(commits)[5:] == (
        bytes([7, *bytes(7), 1, 0, 1, 0]) + len(commit().encoding).to_bytes(4, "little") + sizes[:4]
        + commit().encoding + frames[0]
    )  # fmt: skip


def test_a_payload_is_not_copied_either_way() -> None:
    vertex = operator_vertex(payload=with_bodies([3, 0, 5]))
    parts = encode_message(Push(vertex)).parts
    assert np.shares_memory(np.frombuffer(parts[2], np.uint8), vertex.payload.records)
    body = encoded(Vertices(1, (vertex, vertex)))[5:]
    decoded = decode_message(MessageKind.VERTICES, body)
    assert isinstance(decoded, Vertices)
    for received in decoded.vertices:
        assert np.shares_memory(received.payload.records, np.frombuffer(body, np.uint8))
        assert not received.payload.records.flags.writeable


def test_only_kinds_of_messages_are_messages() -> None:
    for kind in range(256):
        if kind not in set(MessageKind):
            assert fault(kind, b"") == MessageFault.KIND
            with pytest.raises(PeerFault):
                body_bytes_max(kind)


def test_every_request_has_its_answer() -> None:
    spread = {MessageKind.PUSH, MessageKind.ANNOUNCE, MessageKind.GRAFT, MessageKind.PRUNE}
    assert set(ANSWERS) | set(ANSWERS.values()) | spread == set(MessageKind)


# Round trips and mutations


@kinds
def test_a_body_cut_anywhere_is_refused(name: str) -> None:
    kind, body = BODIES[name]
    assert None not in {fault(kind, body[:size]) for size in range(len(body))}


@kinds
def test_a_body_with_more_bytes_behind_it_is_refused(name: str) -> None:
    kind, body = BODIES[name]
    for extra in (b"\x00", body[-1:] or b"\x01", body or b"\xff"):
        assert fault(kind, body + extra) in {
            MessageFault.TRAILING,
            CodecFault.TRAILING,
            CodecFault.FRAME_SIZE,
        }


@kinds
def test_every_flipped_byte_is_refused_or_another_message(name: str) -> None:
    kind, body = BODIES[name]
    for at in range(len(body)):
        for bits in (1, 128, 255):
            mutated = bytearray(body)
            mutated[at] ^= bits
            assert fault(kind, bytes(mutated)) in OUTCOMES


@kinds
def test_a_body_of_one_kind_under_another_is_refused_or_canonical(name: str) -> None:
    for kind in MessageKind:
        assert fault(kind, BODIES[name][1]) in OUTCOMES


@given(st.sampled_from(MessageKind), st.binary(max_size=300))
@settings(max_examples=400)
def test_random_bytes_are_refused_or_canonical(kind: MessageKind, body: bytes) -> None:
    assert fault(kind, body) in OUTCOMES


@given(st.data(), st.sampled_from(list(BODIES)))
@settings(max_examples=400)
def test_bodies_with_random_edits_are_refused_or_canonical(data: st.DataObject, name: str) -> None:
    kind, body = BODIES[name]
    start = data.draw(st.integers(0, len(body)))
    stop = data.draw(st.integers(start, min(len(body), start + 16)))
    edited = body[:start] + data.draw(st.binary(max_size=16)) + body[stop:]
    assert fault(kind, edited) in OUTCOMES


u16, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1)
digests = st.binary(min_size=32, max_size=32)
any_refs = st.builds(VertexRef, st.integers(0, 2**32 - 1), u16, digests) | st.builds(
    OperatorRef, st.integers(0, 2**32 - 1), digests, digests
)
voters = st.builds(lambda author: validator_vertex(author=author, signed=False), st.integers(0, 3))
operators = st.builds(lambda seq: operator_vertex(seq=seq, signed=False), u64)
ranges = st.builds(lambda index: commit(index=index), u64)


def tuples(items: st.SearchStrategy[Any], size: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=size).map(tuple)


@given(
    st.builds(Push, voters | operators)
    | st.builds(GetVertices, u64, tuples(any_refs, 9))
    | st.builds(Vertices, u64, tuples(voters | operators, 3))
    | st.builds(GetCommits, u64, u64, u64)
    | st.builds(Commits, u64, tuples(ranges, 3), tuples(voters, 3))
    | st.builds(GetNewest, u64, u16)
    | st.builds(Newest, u64, u16, tuples(voters, 3))
    | st.builds(Announce, tuples(any_refs, 9))
    | st.builds(Graft, tuples(any_refs, 9))
    | st.just(Prune())
)
def test_random_messages_round_trip(message: Message) -> None:
    kind, size, parts = encode_message(message)
    octets = b"".join(parts)
    assert FRAME_HEAD.unpack_from(octets) == (size, kind)
    assert len(octets) == FRAME_HEAD.size + size
    assert decode_message(kind, octets[FRAME_HEAD.size :]) == message


# Limits


def refused(message: Message) -> bool:
    try:
        encode_message(message)
    except ShapeError:
        return True
    return False


VERTEX, COMMIT = validator_vertex(), commit()
COUNTED: dict[str, tuple[int, MessageKind, int, MessageFault, Any]] = {
    "refs": (
        FETCH_REFS_MAX, MessageKind.GET_VERTICES, 8, MessageFault.REFS,
        lambda count: GetVertices(1, refs(4, "0") * count),
    ),
    "announced refs": (
        ANNOUNCE_REFS_MAX, MessageKind.ANNOUNCE, 0, MessageFault.REFS,
        lambda count: Announce(refs(4, "0") * count),
    ),
    "grafted refs": (
        GRAFT_REFS_MAX, MessageKind.GRAFT, 0, MessageFault.REFS, lambda count: Graft(refs(4, "0") * count),
    ),
    "vertices": (
        FETCH_REFS_MAX, MessageKind.VERTICES, 8, MessageFault.VERTICES,
        lambda count: Vertices(1, (VERTEX,) * count),
    ),
    "commits": (
        COMMIT_SYNC_BATCH, MessageKind.COMMITS, 8, MessageFault.COMMITS,
        lambda count: Commits(1, (COMMIT,) * count, ()),
    ),
    "votes": (
        COMMITTEE_MAX, MessageKind.COMMITS, 10, MessageFault.VOTES,
        lambda count: Commits(1, (), (VERTEX,) * count),
    ),
    "newest": (
        NEWEST_VERTICES_MAX, MessageKind.NEWEST, 10, MessageFault.VERTICES,
        lambda count: Newest(1, 0, (VERTEX,) * count),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_limits_of_counts(name: str) -> None:
    limit, kind, at, code, make = COUNTED[name]
    for count in (limit - 1, limit):
        assert fault(kind, encoded(make(count))[5:]) is None
    assert refused(make(limit + 1))
    # What an encoder of ours would refuse: the right bytes for one item more.
    one, two, most = (encoded(make(count))[5:] for count in (1, 2, limit))
    item = len(two) - len(one)
    sizes = b"" if name.endswith("refs") else item_size(item - 4)
    lists = put(most, at, limit + 1, 2)
    head = {"refs": 10, "announced refs": 2, "grafted refs": 2, "vertices": 10}.get(name, 12)
    body = lists[:head] + sizes + lists[head:] + one[len(one) - item + len(sizes) :]
    assert len(body) == len(most) + item
    assert fault(kind, body) == code


def item_size(size: int) -> bytes:
    return size.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("name", "at", "width"),
    [("get_vertices", 8, 2), ("announce", 0, 2), ("graft", 0, 2), ("vertices", 8, 2),
     ("vertices", 10, 4), ("commits", 8, 2), ("commits", 10, 2),
     ("commits", 12, 4), ("newest", 10, 2), ("newest", 12, 4)],
)  # fmt: skip
def test_no_count_or_size_is_believed(name: str, at: int, width: int) -> None:
    kind, body = BODIES[name]
    stated = int.from_bytes(body[at : at + width], "little")
    for value in (stated - 1, stated + 1, 2 ** (8 * width) - 1):
        assert fault(kind, put(body, at, value, width)) is not None


def test_sizes_that_add_up_but_cut_the_vertices_elsewhere_are_refused() -> None:
    kind, body = BODIES["vertices"]
    first, second = (int.from_bytes(body[at : at + 4], "little") for at in (10, 14))
    assert fault(kind, put(put(body, 10, first - 1, 4), 14, second + 1, 4)) == CodecFault.TRUNCATED
    assert fault(kind, put(put(body, 10, 0, 4), 14, first + second, 4)) == CodecFault.TRUNCATED


def test_a_reference_of_unknown_kind_is_refused() -> None:
    kind, body = BODIES["get_vertices"]
    for tag in (0, 3, 255):
        assert fault(kind, put(body, 10, tag, 1)) == MessageFault.REF_TAG


def test_only_validators_vote_and_have_a_newest_vertex() -> None:
    operator = encode_vertex(operator_vertex())
    size = item_size(len(operator))
    assert fault(MessageKind.NEWEST, bytes(10) + b"\x01\x00" + size + operator) == CodecFault.TAG
    assert fault(MessageKind.COMMITS, bytes(10) + b"\x01\x00" + size + operator) == CodecFault.TAG


def test_limits_of_bodies() -> None:
    assert body_bytes_max(MessageKind.PUSH) == VERTEX_BYTES_MAX == 8 << 20
    assert CONTROL_BYTES_MAX == 1 << 20
    for kind in MessageKind:
        limit = body_bytes_max(kind)
        assert limit == (
            8 << 20 if kind == MessageKind.PUSH else 32 << 20 if kind in ANSWERS.values() else 1 << 20
        )
        room = memoryview(bytearray(limit + 1))
        assert fault(kind, room[:limit]) != MessageFault.BODY_SIZE
        assert fault(kind, room) == MessageFault.BODY_SIZE


def test_an_answer_too_large_to_be_taken_is_not_made() -> None:
    vertex = validator_vertex(payload=zeros(32_768), signed=False)
    size = len(encode_vertex(vertex)) + 4
    fitting = (ANSWER_BYTES_MAX - 10) // size
    assert fitting == 5
    assert not refused(Vertices(1, (vertex,) * fitting))
    assert refused(Vertices(1, (vertex,) * (fitting + 1)))


def test_fields_out_of_range_are_our_bug() -> None:
    for message in (GetCommits(2**64, 1, 1), GetCommits(-1, 1, 1), GetNewest(1, 2**16), Vertices(2**64, ())):
        assert refused(message)
    assert refused(GetVertices(1, (VertexRef(1, 2, b"short"),)))


def test_requests_name_vertices_in_the_order_given() -> None:
    names = (tip(3), *refs(4, "2"), tip(2), *refs(1, "0"), tip(3))
    assert decode_message(MessageKind.GET_VERTICES, encoded(GetVertices(1, names))[5:]).refs == names
