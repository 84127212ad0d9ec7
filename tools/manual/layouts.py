"""Wire and storage formats as tables, from the structs that the code packs and unpacks with."""

import re
from collections.abc import Iterator, Sequence
from struct import Struct, calcsize
from typing import Any, Final, NamedTuple

from cherrydag import address, chain, commit, genesis, layout, payload, transaction, vertex
from cherrydag.execution import anchor
from cherrydag.execution import checkpoint as state
from cherrydag.gossip import message_codec
from cherrydag.gossip.message_codec import FRAME_HEAD, MessageKind
from cherrydag.net import control
from cherrydag.net.control import ControlKind
from cherrydag.storage import chunk_file, generation, outcome, schema, sign_state
from cherrydag.storage.schema import Table
from manual.markdown import code, table

_FORMAT: Final = re.compile(r"(\d*)([BHIQsx])")
_TYPES: Final = {"B": "u8", "H": "u16", "I": "u32", "Q": "u64"}


class Field(NamedTuple):
    """One field of a fixed layout."""

    offset: int
    size: int
    kind: str
    name: str


LAYOUTS: Final[dict[str, tuple[Struct, Sequence[str]]]] = {
    "validator head": (
        layout.VALIDATOR_HEAD,
        (
            *("tag", "version", "author", "epoch", "round", "ancestors", "tips", "commit votes"),
            *("checkpoint votes", "timestamp_ms", "payload root", "transactions", "bytes of bodies"),
        ),
    ),
    "operator head": (
        layout.OPERATOR_HEAD,
        (
            *("tag", "version", "parents", "epoch", "anchor_round", "timestamp_ms", "seq", "issuer"),
            *("payload root", "transactions", "bytes of bodies"),
        ),
    ),
    "validator reference": (layout.VERTEX_REF, ("round", "author", "digest")),
    "operator reference": (layout.OPERATOR_REF, ("anchor_round", "issuer", "digest")),
    "tagged validator reference": (layout.TAGGED_VERTEX_REF, ("tag", "round", "author", "digest")),
    "tagged operator reference": (layout.TAGGED_OPERATOR_REF, ("tag", "anchor_round", "issuer", "digest")),
    "commit vote": (layout.COMMIT_VOTE, ("index", "digest")),
    "checkpoint vote": (layout.CHECKPOINT_VOTE, ("index", "commit_digest", "state_root", "signature")),
    "commit head": (
        layout.COMMIT_HEAD,
        ("tag", "version", "epoch", "index", "timestamp_ms", "prev_digest", "vertices"),
    ),
    "checkpoint": (
        layout.CHECKPOINT,
        ("tag", "version", "chain", "epoch", "index", "commit_digest", "state_root"),
    ),
    "signature of a certificate": (layout.CHECKPOINT_SIGNATURE, ("author", "signature")),
    "frame head": (FRAME_HEAD, ("bytes of the body", "kind")),
    "hello": (
        control._HELLO,
        (
            *("version_min", "version_max", "chain", "epoch", "validator", "public_key", "head", "nonce"),
            *("listen port", "listen host"),
        ),
    ),
    "identity": (schema.IDENTITY, ("schema version", "genesis digest", "epoch")),
    "sign-state slot": (
        sign_state.SLOT,
        ("magic", "counter", "epoch", "round", "signing digest", "public key", "genesis digest"),
    ),
    "manifest head": (
        generation._HEAD,
        ("magic", "version", "genesis digest", "epoch", "commit index", "indexes"),
    ),
    "chunk file head": (chunk_file._HEAD, ("magic", "version", "header size", "file identity")),
    "chunk head": (chunk_file._CHUNK, ("kind", "size")),
    "state head": (
        state._HEAD,
        ("version", "commit_index", "root", "fees", "supply", "lines", "entries"),
    ),
}
"""Names of the fields of each struct, in their order."""

TABLES: Final = {
    Table.META: ("`identity`", "whose database it is: below"),
    Table.VERTICES: ("seq u64", "tagged reference, frame; numbers begin with 0 and have no gaps"),
    Table.COMMITS: ("index u64", "frame of the commit; no gaps"),
    Table.SWAPS: ("commit index u64", "counts of worst and best u16, their authors u16 (consensus)"),
    Table.VERTEX_DIGEST: ("digest prefix 8, seq u64", "nothing: an index"),
    Table.VERTEX_ROUND: ("round u32, digest prefix 8, seq u64", "nothing: an index"),
    Table.VERTEX_AUTHOR: ("author u16, round u32, seq u64", "nothing: an index of validators' vertices"),
    Table.RESULTS: ("commit index u64", "what executing the commit gave: below"),
}
"""Key and value of each table."""

BODIES: Final[dict[int, str]] = {
    ControlKind.HELLO: "as below, then up to 256 bytes that a later version may use",
    ControlKind.GOODBYE: "u8 size of the code, code in ASCII, text",
    ControlKind.PING: "token u64",
    ControlKind.PONG: "the token of the ping",
    ControlKind.RECORD: "a signed peer record",
    ControlKind.GET_RECORDS: "a request of fixed size, so that no answer has 20 times its bytes",
    ControlKind.RECORDS: "u8 count, peer records",
    MessageKind.PUSH: "frame of a vertex",
    MessageKind.GET_VERTICES: "number u64, count u16, tagged references",
    MessageKind.VERTICES: "number u64, count u16, a size u32 for each, frames",
    MessageKind.GET_COMMITS: "number u64, first u64, last u64",
    MessageKind.COMMITS: "number u64, commits u16, votes u16, a size u32 for each, frames of commits, then "
    "of vertices whose commit votes certify the last one",
    MessageKind.GET_NEWEST: "number u64, author u16",
    MessageKind.NEWEST: "number u64, author u16, vertices u16, a size u32 for each, frames",
    MessageKind.ANNOUNCE: "count u16, tagged references",
    MessageKind.GRAFT: "count u16, tagged references",
    MessageKind.PRUNE: "nothing",
}
"""What the body of each kind of frame holds."""

CONTEXTS: Final[Sequence[tuple[str, Any, str, str]]] = (
    ("address", address, "ADDRESS_KEY", "the first 20 bytes of the hash of a public key are its address"),
    ("genesis", genesis, "GENESIS_KEY", "the digest of a genesis, the chain's identity"),
    ("vertex", vertex, "VERTEX_KEY", "the digest of a vertex: of its header"),
    ("payload leaf", payload, "LEAF_KEY", "a leaf of a payload: of an id and a signature"),
    ("commit", commit, "COMMIT_KEY", "the digest of a commit: of its frame"),
    ("anchor", anchor, "ANCHOR_KEY", "the name of an anchor"),
    ("storage seal", schema, "SEAL_KEY", "the seal of a stored value"),
    ("storage outcome head", outcome, "HEAD_KEY", "the seal of an outcome's head"),
    ("sign state slot", sign_state, "SLOT_KEY", "the checksum of a slot"),
    ("generation manifest", generation, "MANIFEST_KEY", "the seal of a manifest"),
)
"""Names in contexts "cherrydag 2026-11-22 NAME v1" of keys that are of no chain, and what they hash."""

CHAIN_CONTEXTS: Final = (
    (transaction.CHAIN_CONTEXT, "the id of a transaction"),
    (chain._VALIDATOR_CONTEXT, "what a validator signs: its vertex's header up to the signature"),
    (chain._OPERATOR_CONTEXT, "what an operator signs, likewise"),
    (chain._CHECKPOINT_CONTEXT, "what a validator signs of a checkpoint: its frame"),
)
"""Contexts of keys that are derived from a genesis digest."""


def fields(struct: Struct, names: Sequence[str]) -> Iterator[Field]:
    """The fields of a struct, whose names are given. ValueError unless there is a name for each."""
    offset, left = 0, list(names)
    order = struct.format[:1]
    for count, kind in _FORMAT.findall(struct.format):
        repeats = 1 if kind in "sx" else int(count or 1)
        for _ in range(repeats):
            size = calcsize(f"{order}{count if kind == 's' else ''}{kind}")
            if kind != "x":
                if not left:
                    raise ValueError(f"{struct.format}: {names}")
                yield Field(offset, size, _TYPES.get(kind, f"{size} bytes"), left.pop(0))
            offset += size
    if left or offset != struct.size:
        raise ValueError(f"{struct.format}: {names}")


def _layout(name: str) -> str:
    struct, names = LAYOUTS[name]
    rows = list(fields(struct, names))
    title = f"**{name}**, {struct.size} bytes"
    return f"{title}\n\n{table(('offset', 'type', 'field'), [(f.offset, f.kind, f.name) for f in rows])}"


def _layouts(*names: str) -> str:
    return "\n\n".join(map(_layout, names))


def record() -> str:
    """A transaction's record."""
    rows = []
    for name, (kind, offset, *_) in (transaction.RECORD.fields or {}).items():
        text = f"u{8 * kind.itemsize}" if kind.base == kind else f"{kind.itemsize} bytes"
        rows.append((offset, text, code(name)))
    return table(("offset", "type", "field"), rows)


def vertex_tags() -> str:
    """The first byte of each frame of vertices, commits and checkpoints."""
    return table(
        ("tag", "frame"), [(int(tag), tag.name.lower().replace("_", " ")) for tag in layout.FrameTag]
    )


def vertex_parts() -> str:
    """Heads, references and votes."""
    return _layouts(
        "validator head",
        "operator head",
        "validator reference",
        "operator reference",
        "tagged validator reference",
        "tagged operator reference",
        "commit vote",
        "checkpoint vote",
    )


def vertex_part() -> str:
    """Vertices."""
    return f"{vertex_tags()}\n\n{vertex_parts()}"


def commit_part() -> str:
    """Commits."""
    return _layout("commit head")


def checkpoint_part() -> str:
    """Checkpoints and their certificates."""
    return _layouts("checkpoint", "signature of a certificate")


def messages() -> str:
    """Frames between nodes."""
    most: dict[int, int] = dict(message_codec._BYTES_MAX)
    most.update(control.BYTES_MAX.items())
    rows = [
        (int(kind), code(kind.name.lower()), f"{most[kind]:,}", BODIES[kind])
        for kind in [*ControlKind, *MessageKind]
    ]
    listed = table(("kind", "frame", "largest body", "body"), rows)
    return f"{_layout('frame head')}\n\n{listed}\n\n{_layout('hello')}"


def log() -> str:
    """Tables of the database."""
    rows = [(int(one), code(schema.TABLES[one]), *TABLES[one]) for one in Table]
    listed = table(("number", "table", "key", "value"), rows)
    return f"Schema version {schema.SCHEMA_VERSION}.\n\n{listed}\n\n{_layout('identity')}"


def files() -> str:
    """Files beside the database."""
    return _layouts("sign-state slot", "manifest head", "chunk file head", "chunk head", "state head")


def keys() -> str:
    """Contexts of hashing keys."""
    rows = [(code(f"cherrydag 2026-11-22 {name} v1"), text, "") for name, _, _, text in CONTEXTS]
    rows += [(code(context), text, "genesis digest") for context, text in CHAIN_CONTEXTS]
    return table(("context", "hashes", "with"), rows)
