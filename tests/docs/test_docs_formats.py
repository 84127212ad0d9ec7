"""The tables of docs/formats.md are what real bytes look like: frames are read by them alone."""

# ruff: noqa: E402 - the tool's parts are imported as the tool does it

import re
import sys
from typing import Any

import numpy as np
import pytest
from places import ROOT

sys.path[1:1] = [str(ROOT / "tools")]

from cherrydag import codec, crypto
from cherrydag.commit import (
    Checkpoint,
    CheckpointCertificate,
    CheckpointSignature,
    CheckpointVote,
    Commit,
    CommitVote,
)
from cherrydag.gossip.message_codec import FRAME_HEAD, encode_message
from cherrydag.gossip.messages import Push
from cherrydag.net.control import Hello, encode_hello
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.storage.schema import SCHEMA_VERSION, Identity, Table, encode_identity
from cherrydag.transaction import RECORD, build_transfers
from cherrydag.vertex import OperatorVertex, ValidatorVertex
from manual import layouts

PAGE = (ROOT / "docs" / "formats.md").read_text()
D1, D2, D3, KEY = (bytes([number]) * 32 for number in range(1, 5))
SIGNATURE = bytes(range(64))


def rows(title: str) -> dict[str, tuple[int, int]]:
    """Fields of a table of the page: offset and size by name."""
    found = re.search(rf"\*\*{title}\*\*, (\d+) bytes\n\n(.*?)\n\n", PAGE, re.DOTALL)
    assert found, title
    fields = re.findall(r"^\| (\d+) \| (\S+(?: bytes)?) \| (.+?) \|$", found[2], re.MULTILINE)
    sizes = {name: (int(offset), size(kind)) for offset, kind, name in fields}
    assert sum(one[1] for one in sizes.values()) == int(found[1])
    return sizes


def size(kind: str) -> int:
    return int(kind[1:]) // 8 if kind[0] == "u" else int(kind.split()[0])


def read(title: str, octets: bytes) -> dict[str, Any]:
    """A structure by its table: integers little-endian, all else as bytes."""
    found = {}
    for name, (offset, width) in rows(title).items():
        part = octets[offset : offset + width]
        found[name] = int.from_bytes(part, "little") if width <= 8 and name != "magic" else part
    return found


ANCESTOR = VertexRef(6, 2, D1)
TIP = OperatorRef(5, KEY, D2)
VALIDATOR = ValidatorVertex(
    epoch=9,
    round=7,
    author=3,
    timestamp_ms=1234,
    ancestors=(ANCESTOR,),
    tips=(TIP,),
    commit_votes=(CommitVote(11, D3),),
    checkpoint=CheckpointVote(10, D1, D2, SIGNATURE),
    signature=SIGNATURE,
)
OPERATOR = OperatorVertex(
    epoch=9, issuer=KEY, seq=8, anchor_round=6, timestamp_ms=77, parents=(TIP, ANCESTOR), signature=SIGNATURE
)


def test_a_validator_vertex_is_read_by_the_page():
    frame = codec.encode_vertex(VALIDATOR)
    head = read("validator head", frame)
    assert head == {
        "tag": 1,
        "version": 1,
        "author": 3,
        "epoch": 9,
        "round": 7,
        "ancestors": 1,
        "tips": 1,
        "commit votes": 1,
        "checkpoint votes": 1,
        "timestamp_ms": 1234,
        "payload root": EMPTY_PAYLOAD.root,
        "transactions": 0,
        "bytes of bodies": 0,
    }
    at = 68
    assert read("validator reference", frame[at:]) == {"round": 6, "author": 2, "digest": D1}
    at += 38
    assert read("operator reference", frame[at:]) == {"anchor_round": 5, "issuer": KEY, "digest": D2}
    at += 68
    assert read("commit vote", frame[at:]) == {"index": 11, "digest": D3}
    at += 40
    vote = {"index": 10, "commit_digest": D1, "state_root": D2, "signature": SIGNATURE}
    assert read("checkpoint vote", frame[at:]) == vote
    assert frame[at + 136 :] == SIGNATURE


def test_an_operator_vertex_is_read_by_the_page():
    frame = codec.encode_vertex(OPERATOR)
    head = read("operator head", frame)
    assert (head["tag"], head["parents"], head["anchor_round"], head["seq"], head["issuer"]) == (
        2,
        2,
        6,
        8,
        KEY,
    )
    tagged = {"tag": 2, "anchor_round": 5, "issuer": KEY, "digest": D2}
    assert read("tagged operator reference", frame[100:]) == tagged
    assert read("tagged validator reference", frame[169:]) == {
        "tag": 1,
        "round": 6,
        "author": 2,
        "digest": D1,
    }
    assert frame[208:] == SIGNATURE


def test_a_commit_is_read_by_the_page():
    frame = codec.encode_commit(
        Commit(epoch=9, index=4, prev_digest=D3, timestamp_ms=5, vertices=(TIP, ANCESTOR))
    )
    head = {
        "tag": 3,
        "version": 1,
        "epoch": 9,
        "index": 4,
        "timestamp_ms": 5,
        "prev_digest": D3,
        "vertices": 2,
    }
    assert read("commit head", frame) == head
    assert read("tagged operator reference", frame[58:])["issuer"] == KEY


def test_a_certificate_is_read_by_the_page():
    checkpoint = Checkpoint(D1, 9, 4, D2, D3)
    frame = codec.encode_certificate(CheckpointCertificate(checkpoint, (CheckpointSignature(2, SIGNATURE),)))
    told = read("checkpoint", frame)
    assert told == {
        "tag": 5,
        "version": 1,
        "chain": D1,
        "epoch": 9,
        "index": 4,
        "commit_digest": D2,
        "state_root": D3,
    }
    assert frame[110:112] == b"\1\0"
    assert read("signature of a certificate", frame[112:]) == {"author": 2, "signature": SIGNATURE}


def test_a_message_is_read_by_the_page():
    frame = b"".join(encode_message(Push(VALIDATOR)).parts)
    body = codec.encode_vertex(VALIDATOR)
    assert read("frame head", frame) == {"bytes of the body": len(body), "kind": 16}
    assert frame[FRAME_HEAD.size :] == body and "| 16 | `push` |" in PAGE
    hello = read("hello", encode_hello(Hello(1, 2, D1, 9, 3, KEY, 44, bytes(16))))
    assert (hello["version_max"], hello["chain"], hello["validator"], hello["head"]) == (2, D1, 3, 44)


def test_a_record_is_read_by_the_page():
    record = build_transfers(senders=KEY, recipients=D1[:20], amounts=(5 << 64) + 6, nonces=7, fee=8)
    section = PAGE.partition("## Transaction record")[2].partition("## ")[0]
    fields = re.findall(r"^\| (\d+) \| (\S+(?: bytes)?) \| `(\w+)` \|$", section, re.MULTILINE)
    assert [name for _, _, name in fields] == list(RECORD.names or ())
    octets = record.tobytes()
    told = {name: octets[int(at) : int(at) + size(kind)] for at, kind, name in fields}
    assert sum(map(len, told.values())) == len(octets) == 176
    number = {name: int.from_bytes(part, "little") for name, part in told.items()}
    assert [number[name] for name in ("kind", "nonce", "amount_lo", "amount_hi", "fee")] == [1, 7, 6, 5, 8]
    assert (told["sender"], told["recipient"]) == (KEY, D1[:20])
    assert np.frombuffer(octets, RECORD) == record


def test_the_identity_of_a_database_is_read_by_the_page():
    told = read("identity", encode_identity(Identity(D1, 9)))
    assert told == {"schema version": SCHEMA_VERSION, "genesis digest": D1, "epoch": 9}


@pytest.mark.parametrize("table", Table)
def test_every_table_is_listed(table: Table):
    assert f"| {table:d} | `{table.name.lower()}` |" in PAGE


@pytest.mark.parametrize(("name", "module", "attribute"), [one[:3] for one in layouts.CONTEXTS])
def test_contexts_are_those_of_the_keys(name: str, module: Any, attribute: str):
    assert crypto.derive_key(f"cherrydag 2026-11-22 {name} v1", b"") == getattr(module, attribute)


def test_numbers_of_run_files_are_those_of_the_header():
    header = (ROOT / "ext" / "runs" / "runs.h").read_text()
    told = PAGE.partition("An index is a set of sorted runs.")[2]
    for name, words in (
        ("PAGE_BYTES", "pages of {} bytes"),
        ("PAGE_ENTRIES", "{} entries of 24"),
        ("KEY_BYTES", "a key of {} and"),
        ("SEAL_BYTES", "a seal of {}"),
    ):
        value = re.search(rf"#define CD_RUN_{name} (\d+)", header)
        assert value and words.format(value[1]) in " ".join(told.split()), name


@pytest.mark.parametrize("names", [("index",), ("index", "digest", "more")])
def test_a_layout_has_a_name_for_each_field(names: tuple[str, ...]):
    struct, _ = layouts.LAYOUTS["commit vote"]
    with pytest.raises(ValueError, match="Q32s"):
        list(layouts.fields(struct, names))
