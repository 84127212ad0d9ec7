"""Signed peer records: where a node listens, in its own words, to be told on by anybody.

Bytes, little-endian, no padding: u8 version, u8 flags, u64 sequence, 32 bytes public key, u8 addresses, each
16 bytes host and u16 port, 64 bytes signature. As with messages, any bytes become a value or a PeerFault, and
a value has one encoding. The signature covers all before it, hashed under a key of this chain and this kind.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from cherrydag import crypto
from cherrydag.errors import PeerFault, ShapeError
from cherrydag.net.addresses import Address
from cherrydag.net.faults import NetFault
from cherrydag.params import SIGNATURE_BYTES
from cherrydag.primitives import Digest, PublicKey
from cherrydag.refs import check_widths

VERSION: Final = 1
"""First byte of a record."""

ADDRESSES_MAX: Final = 4
"""Most addresses of one node."""

LIFE_MS: Final = 7 * 24 * 3600 * 1000
"""How long after its sequence a record is believed."""

AHEAD_MS: Final = 10 * 60 * 1000
"""How far a sequence may be ahead of our clock."""

FLAG_VALIDATOR: Final = 1
"""The node has a validator's key. Flags are hints; unknown ones are kept and mean nothing."""

FLAG_OPERATOR: Final = 2
"""The node issues operators' vertices."""

_CONTEXT: Final = "cherrydag 2026-11-22 peer record signature v1"
_HEAD = Struct("<BBQ32sB")
_ADDRESS = Struct("<16sH")
_SEQUENCE_MAX: Final = 2**64 - 1

RECORD_BYTES_MAX: Final = _HEAD.size + ADDRESSES_MAX * _ADDRESS.size + SIGNATURE_BYTES
"""Longest encoding."""


class PeerRecord(NamedTuple):
    """Where the node of a key listens. addresses: 1 to ADDRESSES_MAX, distinct, best first. sequence: Unix
    milliseconds of its making; of two records of a key the higher one counts."""

    public_key: PublicKey
    addresses: tuple[Address, ...]
    sequence: int
    flags: int = 0
    signature: bytes = bytes(SIGNATURE_BYTES)

    def is_current(self, wall_ms: int) -> bool:
        """Whether it is neither too old nor from the future, at this Unix time."""
        return wall_ms - LIFE_MS < self.sequence <= wall_ms + AHEAD_MS


def record_domain(genesis_digest: bytes) -> bytes:
    """The hashing key of what is signed in records of this chain."""
    return crypto.derive_key(_CONTEXT, genesis_digest)


def signing_digest(record: PeerRecord, domain: bytes) -> Digest:
    """The 32 bytes that the node signs. domain: of record_domain. ShapeError as encode_record."""
    return Digest(crypto.hash_bytes(encode_record(record)[:-SIGNATURE_BYTES], domain))


def verify_records(records: Sequence[PeerRecord], domain: bytes) -> list[bool]:
    """Whether each is signed with its own key, in one native call."""
    if not records:
        return []
    keys = b"".join([record.public_key for record in records])
    digests = b"".join([signing_digest(record, domain) for record in records])
    signatures = b"".join([record.signature for record in records])
    return [verdict == 1 for verdict in crypto.verify_signatures(keys, digests, signatures)]


def encode_record(record: PeerRecord) -> bytes:
    """The bytes of a record. ShapeError if a field does not fit: our bug."""
    check_widths("public_key", [record.public_key])
    check_widths("signature", [record.signature], SIGNATURE_BYTES)
    check_widths("addresses.host", [address.host for address in record.addresses], 16)
    if not 0 <= record.sequence <= _SEQUENCE_MAX or not 0 <= record.flags <= 0xFF:
        raise ShapeError(f"record: sequence {record.sequence} or flags {record.flags} out of range")
    if (wrong := _wrong_with(record.addresses)) is not None:
        raise ShapeError(wrong)
    head = _HEAD.pack(VERSION, record.flags, record.sequence, record.public_key, len(record.addresses))
    return b"".join([head, *[_ADDRESS.pack(*address) for address in record.addresses], record.signature])


def decode_record(body: bytes, at: int = 0) -> tuple[PeerRecord, int]:
    """The record that stands at an offset, and where it ends. Its signature is not looked at.

    Raises PeerFault with NetFault.RECORD.
    """
    if len(body) < at + _HEAD.size:
        _refuse(f"record: {len(body) - at} bytes, the head alone has {_HEAD.size}")
    version, flags, sequence, public_key, count = _HEAD.unpack_from(body, at)
    if version != VERSION:
        _refuse(f"version: expected {VERSION}, got {version}")
    if not 1 <= count <= ADDRESSES_MAX:
        _refuse(f"addresses: expected 1 to {ADDRESSES_MAX}, got {count}")
    start = at + _HEAD.size
    signed = start + count * _ADDRESS.size
    end = signed + SIGNATURE_BYTES
    if len(body) < end:
        _refuse(f"record: it announces {end - at} bytes, got {len(body) - at}")
    addresses = tuple(Address(*_ADDRESS.unpack_from(body, start + i * _ADDRESS.size)) for i in range(count))
    if (wrong := _wrong_with(addresses)) is not None:
        _refuse(wrong)
    return PeerRecord(PublicKey(public_key), addresses, sequence, flags, bytes(body[signed:end])), end


def _wrong_with(addresses: tuple[Address, ...]) -> str | None:
    """What is wrong with them, None if nothing is."""
    if not 1 <= len(addresses) <= ADDRESSES_MAX:
        return f"addresses: expected 1 to {ADDRESSES_MAX}, got {len(addresses)}"
    if len(set(addresses)) != len(addresses):
        return "addresses: expected distinct ones"
    for address in addresses:
        ip = address.ip
        if not 1 <= address.port <= 0xFFFF or ip.is_unspecified or ip.is_multicast:
            return f"addresses: {ip} port {address.port} is where no node can be"
    return None


def _refuse(message: str) -> NoReturn:
    raise PeerFault(NetFault.RECORD, message)
