"""TLS 1.3 between nodes: both ends prove their Ed25519 keys, and nobody is trusted for a name.

Python's ssl has no hook to accept an unknown key, so every node issues itself a certificate under one
authority whose private key follows from a public constant: the chain always verifies, and what counts is
that the handshake proves possession of the leaf's key, which the caller compares with the one it expects.
A certificate is a function of its key (RFC 5280, 8410; deterministic signatures), so a peer's either has the
one right form or is refused, and no parser of certificates is needed.
"""

import os
import ssl
from base64 import encodebytes
from functools import cache
from typing import Final

import nacl.bindings

from cherrydag import crypto
from cherrydag.errors import PeerFault
from cherrydag.net.faults import NetFault
from cherrydag.params import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from cherrydag.primitives import PublicKey
from cherrydag.signing import SEED_BYTES, KeyPair, generate_keypair

PROTOCOL_NAME: Final = "cherrydag/1"
"""Name of the protocol in the TLS handshake (ALPN)."""

_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _OID = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06
_TEXT, _TRUE, _UTC, _TIME, _TAGGED_0, _TAGGED_3 = 0x0C, b"\x01\x01\xff", 0x17, 0x18, 0xA0, 0xA3

_ED25519 = b"\x06\x03\x2b\x65\x70"  # 1.3.101.112, RFC 8410
_KEY_HEAD = bytes.fromhex("302e020100300506032b657004220420")  # PKCS #8 of an Ed25519 seed, RFC 8410


@cache
def _authority() -> KeyPair:
    """The authority that everyone can be: its secret is no secret."""
    return generate_keypair(crypto.derive_key("cherrydag 2026-11-22 public certificate authority v1", b""))


def leaf_certificate(public_key: bytes) -> bytes:
    """The certificate of a node with this key, DER."""
    return _signed(_leaf(public_key))


@cache
def authority_certificate() -> bytes:
    """The authority's own certificate, DER."""
    key = _authority().public_key
    return _signed(
        _body(1, "cherrydag", key, [
            _extension(19, _der(_SEQUENCE, _TRUE + b"\x02\x01\x00"), critical=True),  # a CA of leaves only
            _extension(15, b"\x03\x02\x01\x06", critical=True),  # signs certificates and revocations
            _extension(14, _der(_OCTETS, _key_id())),
        ])
    )  # fmt: skip


def peer_key(certificate: bytes | None) -> PublicKey:
    """The key in a peer's certificate, which TLS has verified. PeerFault unless it is leaf_certificate's."""
    octets = certificate or b""
    key = octets[_key_offset() :][:PUBLIC_KEY_BYTES]
    if len(key) != PUBLIC_KEY_BYTES or octets != _assembled(_leaf(key), octets[-SIGNATURE_BYTES:]):
        raise PeerFault(NetFault.IDENTITY, f"certificate: {len(octets)} bytes in another form than a node's")
    return PublicKey(key)


def tls_context(key: KeyPair, *, server: bool) -> ssl.SSLContext:
    """TLS 1.3 only, mutual, with this node's key. The secret reaches OpenSSL without touching a disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([PROTOCOL_NAME])
    context.load_verify_locations(cadata=authority_certificate())
    if server:
        context.num_tickets = 0  # no resumption: every connection proves its key
    _load_key(context, key)
    return context


def _load_key(context: ssl.SSLContext, key: KeyPair) -> None:
    """ssl takes a key from a file only: this one is in memory (Linux)."""
    secret = _KEY_HEAD + key.secret_key[:SEED_BYTES]
    pem = _pem("PRIVATE KEY", secret) + _pem("CERTIFICATE", leaf_certificate(key.public_key))
    handle = os.memfd_create("cherrydag-key", os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{handle}")


def _leaf(public_key: bytes) -> bytes:
    return _body(2, "cherrydag node", public_key, [
        _extension(19, _der(_SEQUENCE), critical=True),  # no CA
        _extension(15, b"\x03\x02\x07\x80", critical=True),  # signs handshakes
        _extension(35, _der(_SEQUENCE, _der(0x80, _key_id()))),
    ])  # fmt: skip


@cache
def _key_offset() -> int:
    """Where a leaf's key stands."""
    mark = b"\xaa" * PUBLIC_KEY_BYTES
    return leaf_certificate(mark).index(mark)


@cache
def _key_id() -> bytes:
    return crypto.hash_bytes(_authority().public_key)[:20]


def _body(serial: int, name: str, public_key: bytes, extensions: list[bytes]) -> bytes:
    """What is signed. Valid for all time: a node's clock has no say in who its peers are."""
    times = _der(_UTC, b"700101000000Z") + _der(_TIME, b"99991231235959Z")
    return _der(
        _SEQUENCE,
        _der(_TAGGED_0, b"\x02\x01\x02"),  # version 3
        _der(_INTEGER, bytes([serial])),
        _der(_SEQUENCE, _ED25519),
        _name("cherrydag"),
        _der(_SEQUENCE, times),
        _name(name),
        _der(_SEQUENCE, _der(_SEQUENCE, _ED25519), _der(_BITS, b"\x00", public_key)),
        _der(_TAGGED_3, _der(_SEQUENCE, *extensions)),
    )


def _signed(body: bytes) -> bytes:
    return _assembled(body, nacl.bindings.crypto_sign(body, _authority().secret_key)[:SIGNATURE_BYTES])


def _assembled(body: bytes, signature: bytes) -> bytes:
    return _der(_SEQUENCE, body, _der(_SEQUENCE, _ED25519), _der(_BITS, b"\x00", signature))


def _name(common_name: str) -> bytes:
    pair = _der(_OID, b"\x55\x04\x03") + _der(_TEXT, common_name.encode("ascii"))
    return _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, pair)))


def _extension(number: int, value: bytes, critical: bool = False) -> bytes:
    """An extension 2.5.29.number."""
    oid = _der(_OID, bytes([0x55, 0x1D, number]))
    return _der(_SEQUENCE, oid, _TRUE if critical else b"", _der(_OCTETS, value))


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def _pem(label: str, der: bytes) -> bytes:
    begin, end = f"-----BEGIN {label}-----\n", f"-----END {label}-----\n"
    return begin.encode() + encodebytes(der) + end.encode()
