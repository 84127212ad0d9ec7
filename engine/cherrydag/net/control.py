"""The connection's own frames: hello, goodbye, ping, pong and peer records. Little-endian, no padding.

As with messages, any body becomes a value or a PeerFault, and a value has one encoding. The hello's layout
is the same in all versions of the protocol: what later ones add stands in `extra`, which older ones ignore.
"""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from cherrydag.codec import Frame
from cherrydag.errors import PeerFault, ShapeError
from cherrydag.net.addresses import NOWHERE, Address
from cherrydag.net.faults import NetFault
from cherrydag.net.peer_record import RECORD_BYTES_MAX, PeerRecord, decode_record, encode_record
from cherrydag.params import COMMITTEE_MAX
from cherrydag.primitives import Digest, Epoch, PublicKey, ValidatorIndex
from cherrydag.refs import check_widths

PROTOCOL_MIN: Final = 1
"""Oldest version of the protocol that this code speaks."""

PROTOCOL_MAX: Final = 1
"""Newest one."""

NONCE_BYTES: Final = 16
"""Size of the number that a process draws for itself."""

HELLO_EXTRA_BYTES_MAX: Final = 256
"""Most bytes that later versions may add to a hello."""

GOODBYE_CODE_BYTES_MAX: Final = 32
"""Longest code in a goodbye."""

GOODBYE_TEXT_BYTES_MAX: Final = 200
"""Longest text in a goodbye; a longer one is cut."""

RECORDS_MAX: Final = 50
"""Most peer records in an answer."""

GET_RECORDS_BYTES: Final = 448
"""Size of a request for peer records, all zero: so large that no answer has 20 times as many bytes."""

_NO_VALIDATOR = 0xFFFF
_HELLO = Struct("<HH32sIH32sQ16sH16s")
_TOKEN = Struct("<Q")


class ControlKind(IntEnum):
    """Kinds of frames below those of messages."""

    HELLO = 1
    GOODBYE = 2
    PING = 3
    PONG = 4
    RECORD = 5
    """A node's own peer record, or one of a validator's, told unasked."""
    GET_RECORDS = 6
    RECORDS = 7


RECORD_KINDS: Final = frozenset([ControlKind.RECORD, ControlKind.GET_RECORDS, ControlKind.RECORDS])
"""Kinds that whoever finds peers takes; all others are the connection's own."""

BYTES_MAX: Final = {
    ControlKind.HELLO: _HELLO.size + HELLO_EXTRA_BYTES_MAX,
    ControlKind.GOODBYE: 1 + GOODBYE_CODE_BYTES_MAX + GOODBYE_TEXT_BYTES_MAX,
    ControlKind.PING: _TOKEN.size,
    ControlKind.PONG: _TOKEN.size,
    ControlKind.RECORD: RECORD_BYTES_MAX,
    ControlKind.GET_RECORDS: GET_RECORDS_BYTES,
    ControlKind.RECORDS: 1 + RECORDS_MAX * RECORD_BYTES_MAX,
}
"""Largest body of each kind."""


class Hello(NamedTuple):
    """What a node says of itself, first of all.

    version_min, version_max: of the protocol. chain: digest of the genesis. epoch: the committee's that the
    node has reached. validator: its index there, None for another node. head: index of its last commit.
    nonce: 16 random bytes of the process. listen: where others may dial it.
    """

    version_min: int
    version_max: int
    chain: Digest
    epoch: Epoch
    validator: ValidatorIndex | None
    public_key: PublicKey
    head: int
    nonce: bytes
    listen: Address = NOWHERE
    extra: bytes = b""


class Goodbye(NamedTuple):
    """Why the sender ends the connection. code: stable, ASCII. text: printable ASCII, for the log."""

    code: str
    text: str


def encode_hello(hello: Hello) -> bytes:
    """The body of a hello. ShapeError if a field has the wrong size or `extra` is too long: our bug."""
    check_widths("chain", [hello.chain])
    check_widths("public_key", [hello.public_key])
    check_widths("nonce", [hello.nonce], NONCE_BYTES)
    check_widths("listen.host", [hello.listen.host], 16)
    if len(hello.extra) > HELLO_EXTRA_BYTES_MAX:
        raise ShapeError(f"extra: {len(hello.extra)} bytes, at most {HELLO_EXTRA_BYTES_MAX} are allowed")
    validator = _NO_VALIDATOR if hello.validator is None else hello.validator
    head = _HELLO.pack(
        hello.version_min,
        hello.version_max,
        hello.chain,
        hello.epoch,
        validator,
        hello.public_key,
        hello.head,
        hello.nonce,
        hello.listen.port,
        hello.listen.host,
    )
    return head + hello.extra


def decode_hello(body: Frame) -> Hello:
    """The hello that a body spells. Raises PeerFault with NetFault.HELLO."""
    if not _HELLO.size <= len(body) <= BYTES_MAX[ControlKind.HELLO]:
        expected = f"expected {_HELLO.size} to {BYTES_MAX[ControlKind.HELLO]} bytes"
        _refuse(NetFault.HELLO, f"hello: {expected}, got {len(body)}")
    low, high, chain, epoch, validator, public_key, head, nonce, port, host = _HELLO.unpack_from(body)
    if not 1 <= low <= high:
        _refuse(NetFault.HELLO, f"versions: expected 1 <= min <= max, got {low} and {high}")
    if validator != _NO_VALIDATOR and validator >= COMMITTEE_MAX:
        _refuse(NetFault.HELLO, f"validator: expected an index below {COMMITTEE_MAX}, got {validator}")
    return Hello(
        low,
        high,
        chain,
        epoch,
        None if validator == _NO_VALIDATOR else validator,
        public_key,
        head,
        nonce,
        Address(host, port),
        bytes(body[_HELLO.size :]),
    )


def encode_goodbye(code: str, text: str) -> bytes:
    """The body of a goodbye: u8 bytes of the code, code, text. What is not printable becomes '?'."""
    name = code.encode("ascii")
    if not 1 <= len(name) <= GOODBYE_CODE_BYTES_MAX or not _is_printable(name):
        raise ShapeError(f"code: expected 1 to {GOODBYE_CODE_BYTES_MAX} printable bytes, got {code!r}")
    shown = "".join(char if " " <= char <= "~" else "?" for char in text[:GOODBYE_TEXT_BYTES_MAX])
    return bytes([len(name)]) + name + shown.encode("ascii")


def decode_goodbye(body: Frame) -> Goodbye:
    """The goodbye that a body spells. Raises PeerFault with NetFault.GOODBYE."""
    octets = bytes(body)
    size = octets[0] if octets else 0
    code, text = octets[1 : 1 + size], octets[1 + size :]
    if not 1 <= size <= GOODBYE_CODE_BYTES_MAX or len(code) != size or len(text) > GOODBYE_TEXT_BYTES_MAX:
        _refuse(NetFault.GOODBYE, f"goodbye: the sizes of code and text are wrong in {len(octets)} bytes")
    if not _is_printable(code) or not _is_printable(text):
        _refuse(NetFault.GOODBYE, "goodbye: code and text must be printable ASCII")
    return Goodbye(code.decode("ascii"), text.decode("ascii"))


def encode_token(token: int) -> bytes:
    """The body of a ping or pong."""
    return _TOKEN.pack(token)


def decode_token(body: Frame) -> int:
    """The token of a ping or pong, u64. Raises PeerFault with NetFault.PING."""
    if len(body) != _TOKEN.size:
        _refuse(NetFault.PING, f"token: expected {_TOKEN.size} bytes, got {len(body)}")
    (token,) = _TOKEN.unpack(body)
    return int(token)


def decode_announcement(body: Frame) -> PeerRecord:
    """The one record that a RECORD frame spells; encode_record made it. PeerFault with NetFault.RECORD."""
    record, end = decode_record(bytes(body))
    if end != len(body):
        _refuse(NetFault.RECORD, f"record: {len(body) - end} bytes follow it")
    return record


def encode_get_records() -> bytes:
    """The body of a request for peer records."""
    return bytes(GET_RECORDS_BYTES)


def check_get_records(body: Frame) -> None:
    """PeerFault with NetFault.RECORD unless it is the body of a request for peer records."""
    if bytes(body) != bytes(GET_RECORDS_BYTES):
        _refuse(NetFault.RECORD, f"request: expected {GET_RECORDS_BYTES} zero bytes, got {len(body)}")


def encode_records(records: Sequence[PeerRecord]) -> bytes:
    """The body of an answer: u8 records, one after another. ShapeError if there are too many: our bug."""
    if len(records) > RECORDS_MAX:
        raise ShapeError(f"records: {len(records)}, at most {RECORDS_MAX} are allowed")
    return bytes([len(records)]) + b"".join(map(encode_record, records))


def decode_records(body: Frame) -> tuple[PeerRecord, ...]:
    """The records that an answer spells, each of another key. Raises PeerFault with NetFault.RECORD."""
    octets = bytes(body)
    count = octets[0] if octets else RECORDS_MAX + 1
    if count > RECORDS_MAX:
        _refuse(NetFault.RECORD, f"records: at most {RECORDS_MAX} are allowed")
    at, records = 1, []
    for _ in range(count):
        record, at = decode_record(octets, at)
        records.append(record)
    if at != len(octets):
        _refuse(NetFault.RECORD, f"records: {len(octets) - at} bytes follow them")
    if len({record.public_key for record in records}) != count:
        _refuse(NetFault.RECORD, "records: two of one key")
    return tuple(records)


def _is_printable(octets: bytes) -> bool:
    return all(0x20 <= octet <= 0x7E for octet in octets)


def _refuse(fault: NetFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
