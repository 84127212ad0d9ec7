"""The validators of an epoch, their stake and the thresholds that follow from it (consensus, notation).

With total stake N, up to f = (N - 1) // 3 may be faulty. A quorum N - f intersects every other quorum in
more than f; any set of f + 1 holds an honest validator.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from cherrydag import crypto
from cherrydag.errors import ConfigError, ShapeError
from cherrydag.params import COMMITTEE_MAX, EPOCH_MAX, PUBLIC_KEY_BYTES, STAKE_TOTAL_MAX
from cherrydag.primitives import Digest, Epoch, PublicKey, Stake, ValidatorIndex

_DIGEST_KEY = crypto.derive_key("cherrydag 2026-11-22 committee v1", b"")
_HEAD = Struct("<IH")  # epoch, members
_STAKE = Struct("<Q")


class Member(NamedTuple):
    """A validator: its 32-byte Ed25519 public key and its stake."""

    public_key: PublicKey
    stake: Stake


@dataclass(frozen=True, slots=True)
class Committee:
    """The validators of one epoch; a validator's index is its place in `members`.

    total: N, the stake of all. faulty: f, the stake that may be faulty. quorum: N - f. validity: f + 1.
    digest: keyed BLAKE3 of epoch u32, count u16 and each member's key and stake u64.
    Raises ConfigError for an epoch out of range, no or too many members, a key twice or not of 32 bytes, a
    stake that is not positive, or a total beyond STAKE_TOTAL_MAX.
    """

    epoch: Epoch
    members: tuple[Member, ...]
    total: Stake = field(init=False, repr=False, compare=False)
    faulty: Stake = field(init=False, repr=False, compare=False)
    quorum: Stake = field(init=False, repr=False, compare=False)
    validity: Stake = field(init=False, repr=False, compare=False)
    digest: Digest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.epoch, self.members)
        total = sum(member.stake for member in self.members)
        faulty = (total - 1) // 3
        parts = [_HEAD.pack(self.epoch, len(self.members))]
        parts += [member.public_key + _STAKE.pack(member.stake) for member in self.members]
        derived = {
            "total": total,
            "faulty": faulty,
            "quorum": total - faulty,
            "validity": faulty + 1,
            "digest": crypto.hash_bytes(b"".join(parts), _DIGEST_KEY),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.members)

    def stake_of(self, authors: Iterable[ValidatorIndex]) -> Stake:
        """Stake of a set of authors, each counted once however often it is given.

        Raises ShapeError for an index out of range: whoever asks has checked peers' indices.
        """
        n = len(self.members)
        distinct = list(dict.fromkeys(authors))
        for author in distinct:
            if not 0 <= author < n:
                raise ShapeError(f"author: expected an index below {n}, got {author}")
        return Stake(sum(self.members[author].stake for author in distinct))


def _check(epoch: Epoch, members: tuple[Member, ...]) -> None:
    if not 0 <= epoch <= EPOCH_MAX:
        raise ConfigError(f"committee.epoch: expected 0 to {EPOCH_MAX}, got {epoch}")
    if not 1 <= len(members) <= COMMITTEE_MAX:
        raise ConfigError(f"committee.members: expected 1 to {COMMITTEE_MAX}, got {len(members)}")
    seen: dict[bytes, int] = {}
    for index, (public_key, stake) in enumerate(members):
        if len(public_key) != PUBLIC_KEY_BYTES:
            got = len(public_key)
            raise ConfigError(
                f"committee.members[{index}]: expected a key of {PUBLIC_KEY_BYTES} bytes, got {got}"
            )
        if stake < 1:
            raise ConfigError(f"committee.members[{index}]: expected a stake of at least 1, got {stake}")
        first = seen.setdefault(public_key, index)
        if first != index:
            raise ConfigError(f"committee.members[{index}]: the key is that of members[{first}]")
    total = sum(member.stake for member in members)
    if total > STAKE_TOTAL_MAX:
        raise ConfigError(f"committee.members: total stake {total} is above {STAKE_TOTAL_MAX}")
