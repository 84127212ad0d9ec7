"""Messages as frames: u32 bytes of the body, u8 kind, body; little-endian, no padding.

Canonical, bounded, total: any body becomes a message or a PeerFault with a MessageFault or a CodecFault, and
encode_message(decode_message(kind, body)) has the same body. Vertices and commits lie in a body as codec
spells them; where there may be several, their sizes stand before the first. Counts are checked against
their limits, and the body's size against the counts, before anything is allocated or looped over.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum, StrEnum
from struct import Struct
from typing import Final, NamedTuple, NoReturn, TypeAlias

from cherrydag.codec import (
    Frame,
    decode_commit,
    decode_validator_vertex,
    decode_vertex,
    vertex_parts,
)
from cherrydag.errors import PeerFault, ShapeError
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
from cherrydag.layout import TAGGED_OPERATOR_REF, TAGGED_VERTEX_REF, RefTag
from cherrydag.params import (
    ANNOUNCE_REFS_MAX,
    COMMIT_SYNC_BATCH,
    COMMITTEE_MAX,
    FETCH_REFS_MAX,
    GRAFT_REFS_MAX,
    VERTEX_BYTES_MAX,
)
from cherrydag.primitives import ValidatorIndex
from cherrydag.refs import AnyRef, OperatorRef, VertexRef, pack_refs
from cherrydag.vertex import Vertex

FRAME_HEAD: Final = Struct("<IB")
"""Bytes of the body, kind: the first bytes of every frame between nodes."""

CONTROL_BYTES_MAX: Final = 1024 * 1024
"""Largest body of a frame that carries neither a vertex nor a commit."""

ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
"""Largest body of an answer: the first commit of a range, or the first vertex, whatever its size, what else
fits into the server's bound, and the vertices that certify a range."""

NEWEST_VERTICES_MAX: Final = COMMITTEE_MAX
"""Most vertices of one author and round in an answer: each member can make one version known."""

Buffer: TypeAlias = bytes | memoryview


class MessageKind(IntEnum):
    """What a frame's body holds. Kinds below 16 are the connection's own."""

    PUSH = 16
    GET_VERTICES = 17
    VERTICES = 18
    GET_COMMITS = 19
    COMMITS = 20
    GET_NEWEST = 21
    NEWEST = 22
    ANNOUNCE = 23
    GRAFT = 24
    PRUNE = 25


class MessageFault(StrEnum):
    """Why a body is no message; stable codes. Faults of a vertex or commit within are CodecFaults."""

    KIND = "message_kind"
    """There is no message of this kind."""
    BODY_SIZE = "message_body_size"
    """The body is larger than one of its kind may be."""
    TRUNCATED = "message_truncated"
    """The body ends before what it announces."""
    TRAILING = "message_trailing"
    """The body goes on after what it announces."""
    REFS = "message_refs"
    """More references than a message of its kind may name."""
    REF_TAG = "message_ref_tag"
    """A reference is of no known kind."""
    VERTICES = "message_vertices"
    """More vertices than an answer may hold."""
    COMMITS = "message_commits"
    """More commits than an answer may hold."""
    VOTES = "message_votes"
    """More votes than a committee has members."""


class EncodedMessage(NamedTuple):
    """A message ready to be sent, to any number of peers.

    size: bytes of the body. parts: the frame, head first; payloads are views of the message's, not copies.
    """

    kind: MessageKind
    size: int
    parts: tuple[Buffer, ...]


_GET_VERTICES = Struct("<QH")  # number, references
_VERTICES = Struct("<QH")  # number, vertices
_GET_COMMITS = Struct("<QQQ")  # number, first, last
_COMMITS = Struct("<QHH")  # number, commits, votes
_GET_NEWEST = Struct("<QH")  # number, author
_NEWEST = Struct("<QHH")  # number, author, vertices
_REFS = Struct("<H")  # references
_SIZE_BYTES = 4

_REF_TAGS = {RefTag.VALIDATOR: TAGGED_VERTEX_REF, RefTag.OPERATOR: TAGGED_OPERATOR_REF}

_BYTES_MAX: Final[dict[int, int]] = {
    MessageKind.PUSH: VERTEX_BYTES_MAX,
    MessageKind.GET_VERTICES: CONTROL_BYTES_MAX,
    MessageKind.VERTICES: ANSWER_BYTES_MAX,
    MessageKind.GET_COMMITS: CONTROL_BYTES_MAX,
    MessageKind.COMMITS: ANSWER_BYTES_MAX,
    MessageKind.GET_NEWEST: CONTROL_BYTES_MAX,
    MessageKind.NEWEST: ANSWER_BYTES_MAX,
    MessageKind.ANNOUNCE: CONTROL_BYTES_MAX,
    MessageKind.GRAFT: CONTROL_BYTES_MAX,
    MessageKind.PRUNE: CONTROL_BYTES_MAX,
}

ANSWERS: Final = {
    MessageKind.GET_VERTICES: MessageKind.VERTICES,
    MessageKind.GET_COMMITS: MessageKind.COMMITS,
    MessageKind.GET_NEWEST: MessageKind.NEWEST,
}
"""The kind of answer to each kind of request."""


def body_bytes_max(kind: int) -> int:
    """Largest body of this kind: check it before a byte of the body is read. PeerFault for another kind."""
    limit = _BYTES_MAX.get(kind)
    return _BYTES_MAX[_kind(kind)] if limit is None else limit


# Encoding


def encode_message(message: Message) -> EncodedMessage:
    """The frame of a message. ShapeError if a field does not fit or a limit is broken: our bug."""
    try:
        kind, parts = _parts(message)
    except struct.error as error:
        raise ShapeError(f"message: a field is out of range: {error}") from error
    size = sum(map(len, parts))
    if size > _BYTES_MAX[kind]:
        raise ShapeError(f"{kind.name}: {size} bytes, at most {_BYTES_MAX[kind]} are allowed")
    return EncodedMessage(kind, size, (FRAME_HEAD.pack(size, kind), *parts))


def _parts(message: Message) -> tuple[MessageKind, list[Buffer]]:
    if isinstance(message, Push):
        return MessageKind.PUSH, [*vertex_parts(message.vertex)]
    if isinstance(message, GetVertices):
        _fits("refs", message.refs, FETCH_REFS_MAX)
        head = _GET_VERTICES.pack(message.number, len(message.refs))
        return MessageKind.GET_VERTICES, [head + pack_refs(message.refs)]
    if isinstance(message, Vertices):
        _fits("vertices", message.vertices, FETCH_REFS_MAX)
        head = _VERTICES.pack(message.number, len(message.vertices))
        return MessageKind.VERTICES, _sized(head, _frames(message.vertices))
    if isinstance(message, GetCommits):
        return MessageKind.GET_COMMITS, [_GET_COMMITS.pack(message.number, message.first, message.last)]
    if isinstance(message, Commits):
        _fits("commits", message.commits, COMMIT_SYNC_BATCH)
        _fits("votes", message.votes, COMMITTEE_MAX)
        head = _COMMITS.pack(message.number, len(message.commits), len(message.votes))
        frames: list[Sequence[Buffer]] = [(commit.encoding,) for commit in message.commits]
        return MessageKind.COMMITS, _sized(head, frames + _frames(message.votes))
    if isinstance(message, GetNewest):
        return MessageKind.GET_NEWEST, [_GET_NEWEST.pack(message.number, message.author)]
    if isinstance(message, Announce | Graft | Prune):
        return _spread_parts(message)
    _fits("vertices", message.vertices, NEWEST_VERTICES_MAX)
    head = _NEWEST.pack(message.number, message.author, len(message.vertices))
    return MessageKind.NEWEST, _sized(head, _frames(message.vertices))


def _spread_parts(message: Announce | Graft | Prune) -> tuple[MessageKind, list[Buffer]]:
    if isinstance(message, Prune):
        return MessageKind.PRUNE, []
    is_graft = isinstance(message, Graft)
    _fits("refs", message.refs, GRAFT_REFS_MAX if is_graft else ANNOUNCE_REFS_MAX)
    kind = MessageKind.GRAFT if is_graft else MessageKind.ANNOUNCE
    return kind, [_REFS.pack(len(message.refs)) + pack_refs(message.refs)]


def _frames(vertices: Sequence[Vertex]) -> list[Sequence[Buffer]]:
    return [vertex_parts(vertex) for vertex in vertices]


def _sized(head: bytes, frames: Sequence[Sequence[Buffer]]) -> list[Buffer]:
    """Head, sizes of the frames, frames."""
    sizes = struct.pack(f"<{len(frames)}I", *[sum(map(len, parts)) for parts in frames])
    return [head + sizes, *[part for parts in frames for part in parts]]


def _fits(field: str, items: Sequence[object], limit: int) -> None:
    if len(items) > limit:
        raise ShapeError(f"{field}: {len(items)}, at most {limit} are allowed")


# Decoding


def decode_message(kind: int, body: Frame) -> Message:
    """The message that a frame of this kind and body spells. Raises PeerFault.

    Payloads of vertices are views of the body, which must not change while they live.
    """
    known = _kind(kind)
    view = memoryview(body).cast("B")
    if len(view) > _BYTES_MAX[known]:
        _refuse(MessageFault.BODY_SIZE, f"body: {len(view)} bytes, at most {_BYTES_MAX[known]} are allowed")
    if known is MessageKind.PUSH:
        return Push(decode_vertex(view))
    if known is MessageKind.GET_VERTICES:
        return _get_vertices(view)
    if known is MessageKind.VERTICES:
        number, count = _head(_VERTICES, view)
        _limit(MessageFault.VERTICES, "vertices", count, FETCH_REFS_MAX)
        return Vertices(number, tuple(map(decode_vertex, _split(view, _VERTICES.size, count))))
    if known is MessageKind.GET_COMMITS:
        return GetCommits(*_whole(_GET_COMMITS, view))
    if known is MessageKind.COMMITS:
        return _commits(view)
    if known is MessageKind.GET_NEWEST:
        number, author = _whole(_GET_NEWEST, view)
        return GetNewest(number, ValidatorIndex(author))
    if known in (MessageKind.ANNOUNCE, MessageKind.GRAFT, MessageKind.PRUNE):
        return _spread(known, view)
    number, author, count = _head(_NEWEST, view)
    _limit(MessageFault.VERTICES, "vertices", count, NEWEST_VERTICES_MAX)
    frames = _split(view, _NEWEST.size, count)
    return Newest(number, ValidatorIndex(author), tuple(map(decode_validator_vertex, frames)))


def _get_vertices(view: memoryview) -> GetVertices:
    number, count = _head(_GET_VERTICES, view)
    _limit(MessageFault.REFS, "references", count, FETCH_REFS_MAX)
    return GetVertices(number, _refs_from(view, _GET_VERTICES.size, count))


def _spread(kind: MessageKind, view: memoryview) -> Announce | Graft | Prune:
    if kind is MessageKind.PRUNE:
        _ends(view, 0)
        return Prune()
    (count,) = _head(_REFS, view)
    _limit(
        MessageFault.REFS,
        "references",
        count,
        GRAFT_REFS_MAX if kind is MessageKind.GRAFT else ANNOUNCE_REFS_MAX,
    )
    refs = _refs_from(view, _REFS.size, count)
    return Graft(refs) if kind is MessageKind.GRAFT else Announce(refs)


def _refs_from(view: memoryview, at: int, count: int) -> tuple[AnyRef, ...]:
    """The `count` references from offset `at` to the end of the body."""
    size = len(view)
    refs: list[AnyRef] = []
    for _ in range(count):
        layout = _REF_TAGS.get(view[at]) if at < size else None  # type: ignore[call-overload]
        if layout is None:
            fault = MessageFault.REF_TAG if at < size else MessageFault.TRUNCATED
            _refuse(fault, f"reference {len(refs)}: expected one of a known kind at byte {at}")
        if at + layout.size > size:
            _refuse(MessageFault.TRUNCATED, f"reference {len(refs)}: the body ends within it")
        tag, *fields = layout.unpack_from(view, at)
        refs.append(VertexRef(*fields) if tag == RefTag.VALIDATOR else OperatorRef(*fields))
        at += layout.size
    _ends(view, at)
    return tuple(refs)


def _commits(view: memoryview) -> Commits:
    number, commits, votes = _head(_COMMITS, view)
    _limit(MessageFault.COMMITS, "commits", commits, COMMIT_SYNC_BATCH)
    _limit(MessageFault.VOTES, "votes", votes, COMMITTEE_MAX)
    frames = _split(view, _COMMITS.size, commits + votes)
    return Commits(
        number,
        tuple(map(decode_commit, frames[:commits])),
        tuple(map(decode_validator_vertex, frames[commits:])),
    )


def _kind(kind: int) -> MessageKind:
    try:
        return MessageKind(kind)
    except ValueError:
        raise PeerFault(MessageFault.KIND, f"kind: {kind} is none of a message") from None


def _head(layout: Struct, view: memoryview) -> tuple[int, ...]:
    if len(view) < layout.size:
        _refuse(MessageFault.TRUNCATED, f"body: {len(view)} bytes, the head alone has {layout.size}")
    return layout.unpack_from(view)


def _whole(layout: Struct, view: memoryview) -> tuple[int, ...]:
    fields = _head(layout, view)
    _ends(view, layout.size)
    return fields


def _split(view: memoryview, at: int, count: int) -> list[memoryview]:
    """The `count` frames whose sizes start at offset `at`; they fill the body."""
    start = at + count * _SIZE_BYTES
    if len(view) < start:
        _refuse(MessageFault.TRUNCATED, f"body: {len(view)} bytes, the sizes alone end at {start}")
    sizes = struct.unpack_from(f"<{count}I", view, at)
    _ends(view, start + sum(sizes))
    frames = []
    for size in sizes:
        frames.append(view[start : start + size])
        start += size
    return frames


def _ends(view: memoryview, size: int) -> None:
    if len(view) != size:
        fault = MessageFault.TRUNCATED if len(view) < size else MessageFault.TRAILING
        _refuse(fault, f"body: it announces {size} bytes, got {len(view)}")


def _limit(fault: MessageFault, field: str, count: int, limit: int) -> None:
    if count > limit:
        _refuse(fault, f"{field}: {count}, at most {limit} are allowed")


def _refuse(fault: MessageFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
