"""One message of each kind, built of the values of vertices.py, and the file of golden vectors made of them.

Deliberately regenerate the vectors with:  python tests/messages.py --write
"""

import json
import sys
from pathlib import Path
from typing import Any

from vertices import CHAIN, KEYS, commit, digest, operator_vertex, refs, tip, validator_vertex, with_bodies

from cherrydag.gossip.message_codec import FRAME_HEAD, encode_message
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
from cherrydag.net.control import Address, ControlKind, Hello, encode_goodbye, encode_hello, encode_token

VECTORS = Path(__file__).parent / "vectors" / "messages.json"

MESSAGES: dict[str, Message] = {
    "push": Push(operator_vertex(payload=with_bodies([3, 0, 5]))),
    "get_vertices": GetVertices(1, (tip(3), *refs(4, "02"), tip(4, 1))),
    "vertices": Vertices(2, (validator_vertex(), operator_vertex(payload=with_bodies([3, 0, 5])))),
    "vertices_none": Vertices(2**64 - 1, ()),
    "get_commits": GetCommits(3, 10, 109),
    "commits": Commits(4, (commit(), commit(index=13)), (validator_vertex(), validator_vertex(author=1))),
    "get_newest": GetNewest(5, 0x0102),
    "newest": Newest(6, 2, (validator_vertex(author=2),)),
    "announce": Announce((tip(3), *refs(4, "02"), tip(4, 1))),
    "graft": Graft((*refs(4, "1"), tip(3))),
    "prune": Prune(),
}


def hello(author: int = 0, **changes: Any) -> Hello:
    """What validator `author` of the small chain says first."""
    fields: dict[str, Any] = {
        "version_min": 1,
        "version_max": 2,
        "chain": CHAIN.genesis_digest,
        "epoch": 7,
        "validator": author,
        "public_key": KEYS[author].public_key,
        "head": 12,
        "nonce": digest("nonce", author)[:16],
        "listen": Address.of("192.0.2.1", 4000 + author),
    }
    return Hello(**fields | changes)


def frame(kind: int, body: bytes) -> bytes:
    return FRAME_HEAD.pack(len(body), kind) + body


def encoded(message: Message) -> bytes:
    """The whole frame of a message."""
    return b"".join(encode_message(message).parts)


def golden() -> dict[str, Any]:
    """What the file of golden vectors must say."""
    frames = {name: encoded(message) for name, message in MESSAGES.items()} | {
        "hello": frame(ControlKind.HELLO, encode_hello(hello())),
        "hello_of_no_validator": frame(
            ControlKind.HELLO, encode_hello(hello(validator=None, extra=b"later"))
        ),
        "goodbye": frame(ControlKind.GOODBYE, encode_goodbye("net_chain", "chain: ours is another")),
        "ping": frame(ControlKind.PING, encode_token(0x0102030405060708)),
    }
    return {
        "about": "The values of tests/messages.py as whole frames.",
        "frames": {name: octets.hex() for name, octets in frames.items()},
    }


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/messages.py --write   (replaces the golden vectors)")
    VECTORS.write_text(json.dumps(golden(), indent=1) + "\n")
