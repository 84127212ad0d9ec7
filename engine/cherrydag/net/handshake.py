"""Whether two hellos go together, and which of two connections to one peer stays."""

from collections.abc import Mapping
from typing import NoReturn

from cherrydag.errors import PeerFault
from cherrydag.net.control import Hello
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.primitives import PublicKey, ValidatorIndex


def agree(own: Hello, theirs: Hello, proven_key: PublicKey, dialled_key: PublicKey | None) -> int:
    """The protocol version that both speak, the newest one.

    proven_key: the one that TLS has shown the peer to hold. dialled_key: whose address we dialled, None if
    the peer dialled us. Raises PeerFault with a NetFault, or with EndCode.SELF or SAME_KEY.
    """
    if theirs.public_key != proven_key:
        _refuse(NetFault.IDENTITY, "public_key: not the key that the peer has proven")
    if theirs.chain != own.chain:
        _refuse(NetFault.CHAIN, f"chain: ours is {own.chain.hex()}, the peer's {theirs.chain.hex()}")
    if theirs.public_key == own.public_key:
        same = theirs.nonce == own.nonce
        code = EndCode.SELF if same else EndCode.SAME_KEY
        _refuse(code, f"public_key: ours, in {'this' if same else 'another'} process")
    if dialled_key is not None and proven_key != dialled_key:
        _refuse(NetFault.WRONG_KEY, f"public_key: dialled {dialled_key.hex()}, got {proven_key.hex()}")
    version = min(own.version_max, theirs.version_max)
    if version < max(own.version_min, theirs.version_min):
        ours = f"{own.version_min} to {own.version_max}"
        _refuse(
            NetFault.VERSION,
            f"version: we speak {ours}, the peer {theirs.version_min} to {theirs.version_max}",
        )
    return version


def check_validator(own: Hello, theirs: Hello, validators: Mapping[PublicKey, ValidatorIndex]) -> None:
    """PeerFault unless a peer of our epoch is the validator that it says it is, or none as it says."""
    if theirs.epoch == own.epoch and validators.get(theirs.public_key) != theirs.validator:
        _refuse(NetFault.IDENTITY, f"validator: the committee does not know this key as {theirs.validator}")


def is_newer_kept(
    own_key: PublicKey, older: Hello, newer: Hello, older_is_ours: bool, newer_is_ours: bool
) -> bool:
    """Whether the newer of two connections to one peer stays. Both ends choose the same one.

    *_is_ours: we dialled it. A peer that has started anew has no other connection. Else the one stays that
    the smaller key dialled; of two that one side dialled, the newer, since nobody dials again who has one.
    """
    if older.nonce != newer.nonce or older_is_ours == newer_is_ours:
        return True
    return newer_is_ours == (own_key < newer.public_key)


def _refuse(code: str, message: str) -> NoReturn:
    raise PeerFault(code, message)
