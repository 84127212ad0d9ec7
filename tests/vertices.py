"""A small chain with four validators and two operators: its vertices, commits and checkpoints, and the file
of golden vectors made from them.

Deliberately regenerate the vectors with:  python tests/vertices.py --write
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cherrydag import crypto, transaction
from cherrydag.chain import Chain
from cherrydag.codec import CodecFault, encode_certificate, encode_checkpoint, encode_commit, encode_vertex
from cherrydag.commit import (
    Checkpoint,
    CheckpointCertificate,
    CheckpointSignature,
    CheckpointVote,
    Commit,
    CommitVote,
)
from cherrydag.committee import Committee, Member
from cherrydag.errors import PeerFault
from cherrydag.params import RECORD_BYTES
from cherrydag.payload import EMPTY_PAYLOAD, EMPTY_ROOT, Payload, body_offsets, build_payload
from cherrydag.refs import AnyRef, OperatorRef, VertexRef
from cherrydag.signing import KeyPair, generate_keypair, sign_digest, sign_records
from cherrydag.verify import EpochRules
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex, genesis_vertices

VECTORS = Path(__file__).parent / "vectors" / "vertices.json"

CHAIN = Chain.of(bytes(range(32)))
OTHER_CHAIN = Chain.of(bytes(range(1, 33)))
KEYS = [generate_keypair(bytes([1 + author]) * 32) for author in range(4)]
OPERATORS = [generate_keypair(bytes([101 + number]) * 32) for number in range(2)]
USERS = [generate_keypair(bytes([201 + number]) * 32) for number in range(3)]
EPOCH = 7


def committee_of(stakes: list[int], epoch: int = EPOCH) -> Committee:
    return Committee(epoch, tuple(Member(key.public_key, s) for key, s in zip(KEYS, stakes, strict=False)))


COMMITTEE = committee_of([1, 1, 1, 1])
RULES = EpochRules.of(CHAIN, COMMITTEE)
GENESIS = [vertex.ref for vertex in genesis_vertices(COMMITTEE, CHAIN.genesis_digest)]


def digest(*label: object) -> bytes:
    """Any 32 bytes, the same for the same label."""
    return crypto.hash_bytes(repr(label).encode())


def refs(round_: int, authors: str | list[int] = "0123") -> tuple[VertexRef, ...]:
    """References to vertices of a round; those of round 0 are the genesis."""
    numbers = [int(author) for author in authors]
    return tuple(GENESIS[a] if round_ == 0 else VertexRef(round_, a, digest(round_, a)) for a in numbers)


def tip(anchor_round: int, number: int = 0) -> OperatorRef:
    return OperatorRef(anchor_round, OPERATORS[number % 2].public_key, digest("tip", anchor_round, number))


def transfers(n: int, **changes: object) -> transaction.Records:
    """n signed transfers between the users."""
    sender_index = np.arange(n) % len(USERS)
    senders = np.frombuffer(b"".join(key.public_key for key in USERS), np.uint8).reshape(-1, 32)
    fields: dict[str, Any] = {
        "senders": senders[sender_index],
        "recipients": bytes(range(20)),
        "amounts": np.arange(n) + 1,
        "nonces": np.arange(n) // len(USERS),
    }
    records = transaction.build_transfers(**fields | changes)
    sign_records(records, CHAIN.transaction_key, USERS, sender_index)
    return records


def with_bodies(sizes: list[int]) -> Payload:
    """Records that state bodies of these sizes, with the bodies. They break a rule: a transfer has none."""
    records = transfers(len(sizes))
    records["body_size"] = sizes
    return build_payload(records, CHAIN, bytes(i % 251 for i in range(sum(sizes))))


def sign(vertex: Vertex, key: KeyPair, chain: Chain = CHAIN) -> Any:
    return replace(vertex, signature=sign_digest(vertex.signing_digest(chain), key))


def checkpoint(index: int = 1000, **changes: Any) -> Checkpoint:
    fields = {"chain": CHAIN.genesis_digest, "epoch": EPOCH, "index": index}
    fields |= {"commit_digest": digest("commit", index), "state_root": digest("state", index)}
    return Checkpoint(**fields | changes)


def checkpoint_vote(author: int, index: int = 1000) -> CheckpointVote:
    signed = checkpoint(index)
    signature = sign_digest(signed.signing_digest(CHAIN), KEYS[author])
    return CheckpointVote(index, signed.commit_digest, signed.state_root, signature)


def certificate(authors: list[int], of: Checkpoint | None = None) -> CheckpointCertificate:
    signed = checkpoint() if of is None else of
    message = crypto.hash_bytes(signed.encoding, CHAIN.checkpoint_key)
    return CheckpointCertificate(
        signed, tuple(CheckpointSignature(a, sign_digest(message, KEYS[a])) for a in authors)
    )


def validator_vertex(*, signed: bool = True, **changes: Any) -> ValidatorVertex:
    """A valid vertex of author 0 in round 5, unless `changes` say otherwise."""
    fields: dict[str, Any] = {
        "epoch": EPOCH,
        "round": 5,
        "author": 0,
        "timestamp_ms": 1_800_000_000_000,
        "ancestors": refs(4),
        "tips": (tip(3), tip(4, 1)),
        "commit_votes": (CommitVote(8, digest(8)), CommitVote(9, digest(9))),
        "checkpoint": None,
        "payload": EMPTY_PAYLOAD,
    }
    vertex = ValidatorVertex(**fields | changes)
    return sign(vertex, KEYS[vertex.author % 4]) if signed else vertex


def operator_vertex(*, signed: bool = True, **changes: Any) -> OperatorVertex:
    """A valid vertex of the first operator, unless `changes` say otherwise."""
    parents: tuple[AnyRef, ...] = (tip(3), tip(4, 1), *refs(5, "1"))
    fields: dict[str, Any] = {
        "epoch": EPOCH,
        "issuer": OPERATORS[0].public_key,
        "seq": 4,
        "anchor_round": 5,
        "timestamp_ms": 1_800_000_000_000,
        "parents": parents,
        "payload": EMPTY_PAYLOAD,
    }
    vertex = OperatorVertex(**fields | changes)
    return sign(vertex, OPERATORS[0]) if signed else vertex


def commit(**changes: Any) -> Commit:
    fields: dict[str, Any] = {
        "epoch": EPOCH,
        "index": 12,
        "prev_digest": digest("previous"),
        "timestamp_ms": 1_800_000_000_000,
        "vertices": (tip(2), *refs(3, "01"), tip(3), *refs(4, "2")),
    }
    return Commit(**fields | changes)


def zeros(transactions: int, body: int = 0) -> Payload:
    """Records of zero bytes, the first of which states one body of that size. The root is a mere claim."""
    records = transaction.as_records(bytearray(transactions * RECORD_BYTES))
    if body:
        records["body_size"][0] = body
    return Payload(records, bytes(body), body_offsets(records, body), EMPTY_ROOT)


def codec_fault(decode: Callable[[Any], Any], frame: bytes) -> str | None:
    """The code with which the frame is refused, or None."""
    try:
        decode(frame)
    except PeerFault as error:
        assert isinstance(error.code, CodecFault)
        assert str(error)
        return error.code
    return None


def golden() -> dict[str, Any]:
    """What the file of golden vectors must say."""
    vertices: dict[str, Vertex] = {
        "genesis": genesis_vertices(COMMITTEE, CHAIN.genesis_digest)[0],
        "round_1": validator_vertex(round=1, ancestors=refs(0), tips=(), commit_votes=()),
        "validator": validator_vertex(
            checkpoint=checkpoint_vote(0), payload=build_payload(transfers(3), CHAIN)
        ),
        "operator": operator_vertex(payload=with_bodies([3, 0, 5])),
    }
    encodings = {name: encode_vertex(vertex) for name, vertex in vertices.items()}
    encodings |= {"commit": encode_commit(commit()), "checkpoint": encode_checkpoint(checkpoint())}
    encodings |= {"certificate": encode_certificate(certificate([0, 1, 3]))}
    digests = {name: vertex.digest.hex() for name, vertex in vertices.items()} | {
        "commit": commit().digest.hex()
    }
    signing = {
        name: vertex.signing_digest(CHAIN).hex() for name, vertex in vertices.items() if name != "genesis"
    }
    return {
        "about": "The values of tests/vertices.py: their bytes, the BLAKE3 of all of them, digests.",
        "committee_digest": COMMITTEE.digest.hex(),
        "encodings": {name: encoding.hex() for name, encoding in encodings.items()},
        "encodings_hash": crypto.hash_bytes(b"".join(encodings.values())).hex(),
        "digests": digests,
        "signing_digests": signing | {"checkpoint": checkpoint().signing_digest(CHAIN).hex()},
        "payload_roots": {name: vertex.payload.root.hex() for name, vertex in vertices.items()},
    }


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/vertices.py --write   (replaces the golden vectors)")
    VECTORS.write_text(json.dumps(golden(), indent=1) + "\n")
