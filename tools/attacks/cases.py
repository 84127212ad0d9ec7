"""What the live fuzzer says: each case follows from a seed and its number, but for the network's keys."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from attacks.forge import Forger, digest_of, now_ms
from attacks.peer import frame
from attacks.site import ATTACKER
from cherrydag.commit import CheckpointVote, Commit, CommitVote
from cherrydag.gossip.message_codec import FRAME_HEAD, MessageKind, encode_message
from cherrydag.gossip.messages import Commits, GetCommits, GetNewest, GetVertices, Newest, Push, Vertices
from cherrydag.net.control import ControlKind
from cherrydag.payload import Payload, build_payload
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.signing import KeyPair, sign_digest
from cherrydag.transaction import build_transfers
from cherrydag.vertex import OperatorVertex, ValidatorVertex

U16, U32, U64 = 2**16 - 1, 2**32 - 1, 2**64 - 1


class Kind(StrEnum):
    """Where a case is said."""

    STRANGER = "stranger"
    VALIDATOR = "validator"
    HTTP = "http"
    SOCKET = "socket"


_WEIGHTS: Final = {Kind.STRANGER: 40, Kind.VALIDATOR: 10, Kind.HTTP: 35, Kind.SOCKET: 15}


def chance_of(seed: int, number: int) -> random.Random:
    """The chance of one case."""
    return random.Random(f"{seed}/{number}")


def kind_of(seed: int, number: int) -> Kind:
    """Where it is said."""
    return random.Random(f"{seed}/{number}/kind").choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]


# Frames


def frames(chance: random.Random, forger: Forger, issuer: KeyPair, *, is_polite: bool) -> bytes:
    """One frame, or what looks like one. is_polite: nothing that ends the connection by itself."""
    made = chance.choice(_MESSAGES)(chance, forger, issuer)
    if is_polite or chance.random() < 0.35:
        return made
    ways: list[Callable[[random.Random, bytes], bytes]] = [_flip, _flip, _cut, _grow, _splice, _lie, _random]
    return chance.choice(ways)(chance, made)


def _flip(chance: random.Random, made: bytes) -> bytes:
    """Some bytes of the body changed."""
    octets = bytearray(made)
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        if len(octets) > FRAME_HEAD.size:
            octets[chance.randrange(FRAME_HEAD.size, len(octets))] = chance.choice([0, 1, 127, 128, 255, 3])
    return bytes(octets)


def _cut(chance: random.Random, made: bytes) -> bytes:
    """A body that ends early, its head in accord."""
    body = made[FRAME_HEAD.size :]
    return frame(made[4], body[: chance.randrange(len(body) + 1)])


def _grow(chance: random.Random, made: bytes) -> bytes:
    """A body that goes on."""
    return frame(made[4], made[FRAME_HEAD.size :] + chance.randbytes(chance.choice([1, 4, 100])))


def _splice(chance: random.Random, made: bytes) -> bytes:
    """Two halves of a body in the wrong order."""
    body = made[FRAME_HEAD.size :]
    at = chance.randrange(len(body) + 1)
    return frame(made[4], body[at:] + body[:at])


def _lie(chance: random.Random, made: bytes) -> bytes:
    """Another kind or another length."""
    if chance.random() < 0.5:
        return frame(chance.choice([*MessageKind, *ControlKind, 0, 15, 99, 255]), made[FRAME_HEAD.size :])
    return frame(made[4], made[FRAME_HEAD.size :], chance.choice([0, 1, 2**20 + 1, 2**23 + 1, 2**31, U32]))


def _random(chance: random.Random, made: bytes) -> bytes:
    """Noise of a known kind."""
    return frame(made[4], chance.randbytes(chance.choice([0, 1, 8, 10, 80, 300, 3000])))


def _number(chance: random.Random, *often: int) -> int:
    return chance.choice([*often, *often, 0, 1, U16, 2**31, U32])


def _ref(chance: random.Random, forger: Forger) -> VertexRef:
    author = ValidatorIndex(chance.choice([*range(ATTACKER + 1), ATTACKER + 1, U16]))
    known = forger.refs(forger.round)
    if known and chance.random() < 0.5:
        return chance.choice(known)
    return VertexRef(Round(_number(chance, forger.round)), author, digest_of(chance.random()))


def _tip(chance: random.Random, forger: Forger, issuer: KeyPair) -> OperatorRef:
    return OperatorRef(Round(_number(chance, forger.round)), issuer.public_key, digest_of(chance.random()))


def _payload(chance: random.Random, forger: Forger, issuer: KeyPair) -> Payload:
    """A few records whose fields are anything; the root is right or is not."""
    records = build_transfers(
        senders=issuer.public_key,
        recipients=chance.randbytes(20),
        amounts=[chance.choice([0, 1, U64])] * chance.choice([1, 3]),
        nonces=_number(chance, 0),
    )
    octets = bytearray(records.tobytes())
    for _ in range(chance.choice([0, 1, 4])):
        octets[chance.randrange(len(octets))] = chance.randrange(256)
    bent = records.copy()
    bent.view("u1")[:] = memoryview(octets).cast("B")
    bent["body_size"] = 0
    made = build_payload(bent, forger.rules.chain)
    return made if chance.random() < 0.8 else replace(made, root=digest_of(chance.random()))


def _vertex(chance: random.Random, forger: Forger, issuer: KeyPair) -> ValidatorVertex:
    """A validator's vertex with some fields that are odd; signed well by the attacker, or not at all."""
    odd: dict[str, Callable[[], Any]] = {
        "epoch": lambda: Epoch(_number(chance, 1)),
        "round": lambda: Round(_number(chance, forger.round + 1, forger.round + 500, forger.round + 501)),
        "author": lambda: ValidatorIndex(_number(chance, ATTACKER) % (U16 + 1)),
        "timestamp_ms": lambda: TimestampMs(chance.choice([0, now_ms() + 499, now_ms() + 10_000, U64])),
        "ancestors": lambda: tuple(_ref(chance, forger) for _ in range(chance.choice([0, 1, 4, 5, 6, 200]))),
        "tips": lambda: tuple(_tip(chance, forger, issuer) for _ in range(chance.choice([1, 64]))),
        "commit_votes": lambda: tuple(
            CommitVote(index, digest_of(index)) for index in sorted({_number(chance, 5, 7) for _ in range(3)})
        ),
        "checkpoint": lambda: CheckpointVote(
            _number(chance, 1), digest_of(1), digest_of(2), chance.randbytes(64)
        ),
        "payload": lambda: _payload(chance, forger, issuer),
    }
    names = chance.sample(sorted(odd), chance.choice([0, 1, 1, 2, 3]))
    vertex = forger.vertex(**{name: odd[name]() for name in names})
    return vertex if chance.random() < 0.9 else replace(vertex, signature=chance.randbytes(64))


def _operator_vertex(chance: random.Random, forger: Forger, issuer: KeyPair) -> OperatorVertex:
    parents = [_ref(chance, forger) for _ in range(chance.choice([1, 2, 8]))]
    anchor = max((ref.round for ref in parents), default=0)
    vertex = OperatorVertex(
        epoch=Epoch(_number(chance, 1)),
        issuer=PublicKey(issuer.public_key),
        seq=_number(chance, 0, U64),
        anchor_round=Round(anchor if chance.random() < 0.8 else _number(chance, anchor)),
        timestamp_ms=now_ms(),
        parents=tuple(parents),
        payload=_payload(chance, forger, issuer),
    )
    return replace(vertex, signature=sign_digest(vertex.signing_digest(forger.rules.chain), issuer))


def _commit(chance: random.Random, forger: Forger) -> Commit:
    refs = {_ref(chance, forger): None for _ in range(chance.choice([1, 2, 50]))}
    return Commit(
        epoch=Epoch(_number(chance, 1)),
        index=_number(chance, 1, 2),
        prev_digest=Digest(digest_of(chance.random())),
        timestamp_ms=now_ms(),
        vertices=tuple(refs),
    )


def _octets(message: Any) -> bytes:
    return b"".join(encode_message(message).parts)


def _control(chance: random.Random) -> bytes:
    kind = chance.choice([ControlKind.PING, ControlKind.PONG])
    return frame(kind, chance.randbytes(8) if chance.random() < 0.9 else chance.randbytes(7))


def _records(chance: random.Random) -> bytes:
    """A kind of the connection's own, whatever it may be, with a few bytes."""
    return frame(chance.randrange(5, 16), chance.randbytes(chance.choice([0, 2, 60])))


_COUNTS: Final = (0, 1, 9, 1000)

_MESSAGES: Final[Sequence[Callable[[random.Random, Forger, KeyPair], bytes]]] = (
    lambda c, f, i: _octets(Push(_vertex(c, f, i))),
    lambda c, f, i: _octets(Push(_vertex(c, f, i))),
    lambda c, f, i: _octets(Push(_operator_vertex(c, f, i))),
    lambda c, f, _i: _octets(GetVertices(7, tuple(_ref(c, f) for _ in range(c.choice(_COUNTS))))),
    lambda c, f, i: _octets(GetVertices(1, tuple(_tip(c, f, i) for _ in range(3)))),
    lambda c, _f, _i: _octets(GetCommits(_number(c, 1), _number(c, 1, 2, U64), _number(c, 1, 100, 101, U64))),
    lambda c, _f, _i: _octets(GetNewest(_number(c, 1), ValidatorIndex(_number(c, 0, 4) % (U16 + 1)))),
    lambda c, f, i: _octets(Vertices(_number(c, 1, 2, 3, 50), (_vertex(c, f, i),))),
    lambda c, f, i: _octets(Commits(_number(c, 1, 2, 3, 50), (_commit(c, f),), (_vertex(c, f, i),))),
    lambda c, f, i: _octets(Newest(_number(c, 1, 2), ValidatorIndex(c.randrange(6)), (_vertex(c, f, i),))),
    lambda c, _f, _i: _control(c),
    lambda c, _f, _i: _records(c),
)  # fmt: skip


def is_cutting(octets: bytes) -> bool:
    """Whether a frame is of the connection's own kinds, whose faults end it."""
    return octets[4] < 16


# JSON

_ODD: Final[Sequence[Any]] = (
    None, True, -1, 0, 1, 2**53, 2**63, 2**64 - 1, 1.5, -0.0, 1e308, "", "0", "-1", "x", "\x00", "\ud800",
    "\u202e\r\n\x1b[31m", "00" * 32, "ff" * 32, "00" * 176, "base64:", "base64:AA==", "9" * 39, "1e5", [],
    [[]], ["00" * 32] * 3, {}, {"a": 1}, [None] * 1001, "x" * 10_000,
)  # fmt: skip
_RAW: Final[Sequence[str]] = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "01", "1.", "+1", "0x10", '"\\ud800"',
    '"\\u0000"', "[" * 40 + "]" * 40, '{"a":1,"a":2}', "tru", "'x'", "[1,]", "", "/**/1", '"\t"',
)  # fmt: skip
_MARK: Final = '"\u2603mark"'


def body(chance: random.Random, methods: Sequence[tuple[str, Sequence[str]]]) -> bytes:
    """A body of JSON, or nearly. methods: names of methods and their parameters."""
    document: Any = _call(chance, methods)
    if chance.random() < 0.1:
        count = chance.choice([0, 1, 2, 5, 100, 101])
        document = [
            _call(chance, methods) if chance.random() < 0.8 else chance.choice(_ODD) for _ in range(count)
        ]
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.3:
        text = text.replace(_MARK, chance.choice(_RAW)) if _MARK in text else _edit(chance, text)
    octets = text.replace(_MARK, "1").encode("utf-8", "surrogatepass")
    return _bend(chance, octets) if chance.random() < 0.2 else octets


def _call(chance: random.Random, methods: Sequence[tuple[str, Sequence[str]]]) -> Any:
    name, parameters = chance.choice(methods)
    given: Any = {word: _value(chance) for word in parameters if chance.random() < 0.8}
    if chance.random() < 0.1:
        given[chance.choice(["x", "", "\u202e", "address"])] = _value(chance)
    if chance.random() < 0.2:
        given = [_value(chance) for _ in parameters]
    made: dict[str, Any] = {"jsonrpc": "2.0", "id": chance.choice([1, "a", None, 2**64 - 1]), "method": name}
    made["params"] = given
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        key = chance.choice(["jsonrpc", "id", "method", "params", "extra"])
        if chance.random() < 0.3:
            made.pop(key, None)
        else:
            made[key] = chance.choice(_ODD)
    return made


def _value(chance: random.Random) -> Any:
    return "\u2603mark" if chance.random() < 0.15 else chance.choice(_ODD)


def _edit(chance: random.Random, text: str) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(_RAW) + text[at + chance.choice([0, 1, 5]) :]


def _bend(chance: random.Random, octets: bytes) -> bytes:
    bent = bytearray(octets)
    for _ in range(chance.choice([1, 1, 4])):
        if bent:
            bent[chance.randrange(len(bent))] = chance.choice(b'\x00\xff"{}[],:\\ \x80e-')
    return bytes(bent[: chance.choice([len(bent), len(bent), chance.randrange(len(bent) + 1)])])
