"""Anchors: the hash of a document or batch, effective only once all required signers have signed it.

Each signs by a transaction of its own; who creates an anchor has not signed by that.

Kinds (record fields that are not named are zero):
    28 create   body: digest 32, u8 n, n addresses     anyone may
    29 sign     body: anchor 32                        by a signer
Entries:
    1 | anchor 32    digest 32, u64 mask of signers, u64 commit of the last signature or 0, u8 n, n addresses
An anchor is named by a hash of its digest and signers, so it is the same whoever creates it.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from struct import Struct
from typing import ClassVar, Final, NamedTuple

from cherrydag import crypto
from cherrydag.errors import Rejected, invariant
from cherrydag.execution.body import BodyReader, encode_addresses
from cherrydag.execution.module import Context, Event, Module, Operation
from cherrydag.execution.overlay import Powers, Scope, View
from cherrydag.primitives import Address, Digest

SIGNERS_MAX: Final = 64
"""Most signers of an anchor."""

ANCHOR_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 anchor v1", b"")
"""Hashing key of an anchor's name."""

_ANCHOR: Final = Struct("<32sQQ")


class AnchorKind(IntEnum):
    """Kinds of operations."""

    CREATE = 28
    SIGN = 29


class AnchorRefusal(StrEnum):
    """Why an operation is refused; stable codes."""

    EXISTS = "anchor_exists"
    """That digest is anchored for those signers."""
    UNKNOWN = "anchor_unknown"
    """There is no such anchor."""
    NOT_SIGNER = "anchor_not_signer"
    """The sender is not among the signers."""
    SIGNED = "anchor_signed"
    """The sender has signed already."""


class Anchor(NamedTuple):
    """A digest and who must sign it. signed: bit i is set once signer i has signed.

    effective_commit: index of the commit in which the last one signed, 0 while one is missing.
    """

    digest: Digest
    signers: tuple[Address, ...]
    signed: int = 0
    effective_commit: int = 0

    @property
    def is_effective(self) -> bool:
        """Whether all have signed."""
        return self.effective_commit != 0


@dataclass(frozen=True, slots=True)
class AnchorCreated(Event):
    """The anchor waits for its signers."""

    name: ClassVar[str] = "anchor.created"
    anchor_id: Digest
    digest: Digest
    signers: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class AnchorSigned(Event):
    """A signer has signed."""

    name: ClassVar[str] = "anchor.signed"
    anchor_id: Digest
    signer: Address


@dataclass(frozen=True, slots=True)
class AnchorEffective(Event):
    """The last signer has signed."""

    name: ClassVar[str] = "anchor.effective"
    anchor_id: Digest
    digest: Digest


_TABLE: Final = 1


def encode_anchor(digest: Digest, signers: tuple[Address, ...]) -> bytes:
    """The body of a create; signers ascend."""
    return digest + encode_addresses(signers)


def decode_anchor(body: bytes) -> Anchor:
    """An anchor that nobody has signed. Total: raises Rejected for anything that is not a create's body."""
    reader = BodyReader(body)
    digest = Digest(reader.take(crypto.DIGEST_BYTES))
    signers = reader.addresses(SIGNERS_MAX)
    reader.end()
    return Anchor(digest, signers)


def decode_anchor_id(body: bytes) -> Digest:
    """Which anchor is signed. Total, as decode_anchor."""
    reader = BodyReader(body)
    anchor_id = Digest(reader.take(crypto.DIGEST_BYTES))
    reader.end()
    return anchor_id


def anchor_id_of(digest: Digest, signers: tuple[Address, ...]) -> Digest:
    """The anchor's name."""
    return Digest(crypto.hash_bytes(encode_anchor(digest, signers), ANCHOR_KEY))


class Anchors(Module):
    """Digests and their signers."""

    name = "anchor"
    kinds = tuple(AnchorKind)
    powers = Powers(prefix=3)

    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        """Create or sign."""
        operation.require_unused("asset", "amount", "recipient")
        if operation.kind == AnchorKind.CREATE:
            return (self._create(operation, scope),)
        return self._sign(operation, scope, context)

    def get(self, view: View, anchor_id: Digest) -> Anchor | None:
        """An anchor, or None."""
        value = view.get(self.key(_TABLE, anchor_id))
        return None if value is None else _decode(value)

    def audit(self, view: View) -> None:
        """Every anchor is under its name, and effective if and only if all have signed."""
        for key, value in view.scan(bytes([_TABLE])):
            anchor = _decode(value)
            named = anchor_id_of(anchor.digest, anchor.signers) == key[1:]
            invariant(named, "an anchor is under its name", anchor=key[1:].hex())
            complete = anchor.signed == _all_of(anchor)
            whole = complete == anchor.is_effective and anchor.signed <= _all_of(anchor)
            invariant(whole, "an anchor is effective if and only if all have signed", anchor=key[1:].hex())

    def _create(self, operation: Operation, scope: Scope) -> AnchorCreated:
        anchor = decode_anchor(operation.body)
        anchor_id = anchor_id_of(anchor.digest, anchor.signers)
        if self.get(scope, anchor_id) is not None:
            raise Rejected(AnchorRefusal.EXISTS, "anchor: that digest is anchored for those signers")
        self._put(scope, anchor_id, anchor)
        return AnchorCreated(anchor_id, anchor.digest, anchor.signers)

    def _sign(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        anchor_id = decode_anchor_id(operation.body)
        anchor = self.get(scope, anchor_id)
        if anchor is None:
            raise Rejected(AnchorRefusal.UNKNOWN, "anchor: there is no such one")
        if context.sender not in anchor.signers:
            raise Rejected(AnchorRefusal.NOT_SIGNER, "sender: not among the signers")
        bit = 1 << anchor.signers.index(context.sender)
        if anchor.signed & bit:
            raise Rejected(AnchorRefusal.SIGNED, "sender: it has signed already")
        anchor = anchor._replace(signed=anchor.signed | bit)
        signed = AnchorSigned(anchor_id, context.sender)
        if anchor.signed != _all_of(anchor):
            self._put(scope, anchor_id, anchor)
            return (signed,)
        self._put(scope, anchor_id, anchor._replace(effective_commit=context.commit_index))
        return signed, AnchorEffective(anchor_id, anchor.digest)

    def _put(self, scope: Scope, anchor_id: Digest, anchor: Anchor) -> None:
        head = _ANCHOR.pack(anchor.digest, anchor.signed, anchor.effective_commit)
        scope.put(self.key(_TABLE, anchor_id), head + encode_addresses(anchor.signers))


def _all_of(anchor: Anchor) -> int:
    return (1 << len(anchor.signers)) - 1


def _decode(value: bytes) -> Anchor:
    digest, signed, effective_commit = _ANCHOR.unpack_from(value)
    signers = BodyReader(value[_ANCHOR.size :]).addresses(SIGNERS_MAX)
    return Anchor(Digest(digest), signers, signed, effective_commit)
