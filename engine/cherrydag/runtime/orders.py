"""A transaction of one's own, wherever the ledger is: whose account, which nonce, and the signature."""

from heapq import heappop, heappush
from typing import Final, TypeAlias

import numpy as np

from cherrydag.address import Network, address_of, decode_address
from cherrydag.errors import Overloaded, Rejected, ShapeError
from cherrydag.mempool import AddStatus
from cherrydag.params import ADDRESS_BYTES
from cherrydag.payload import body_offsets
from cherrydag.primitives import Address
from cherrydag.runtime.submissions import describe
from cherrydag.signing import KeyPair, sign_records
from cherrydag.transaction import Records, build_transfers

Owner: TypeAlias = Address | str | KeyPair
"""An account: its 20 bytes, its text, or its key."""

_NONCE_IS_TAKEN: Final = describe(AddStatus.NONCE)[0]


def address_of_owner(owner: Owner, network: Network) -> Address:
    """The account's 20 bytes. ShapeError for another length; what decode_address raises for a text."""
    if isinstance(owner, KeyPair):
        return address_of(owner.public_key)
    if isinstance(owner, str):
        return decode_address(owner, network)
    if len(owner) != ADDRESS_BYTES:
        raise ShapeError(f"owner: expected {ADDRESS_BYTES} bytes of address, got {len(owner)}")
    return owner


class Nonces:
    """Those that were given out here, so that no two transactions under way share one."""

    def __init__(self) -> None:
        self._next: dict[Address, int] = {}
        self._returned: dict[Address, list[int]] = {}  # heaps

    def take(self, address: Address, unused: int, limit: int) -> int | None:
        """The lowest that is neither used nor given out; None while that is not below the limit.

        unused: the lowest that the account has not used.
        """
        returned = self._returned.get(address, [])
        while returned and returned[0] < unused:
            heappop(returned)
        nonce = returned[0] if returned else max(unused, self._next.get(address, 0))
        if nonce >= limit:
            return None
        if returned:
            heappop(returned)
        else:
            self._next[address] = nonce + 1
        return nonce

    def refused(self, address: Address, nonce: int, error: Rejected | Overloaded) -> None:
        """Its transaction was not taken: it is given out again, unless another transaction has it. One that
        is never used holds up the account's window."""
        if isinstance(error, Overloaded) or error.code != _NONCE_IS_TAKEN:
            heappush(self._returned.setdefault(address, []), nonce)


def unsigned_order(
    key: KeyPair,
    kind: int,
    body: bytes,
    recipient: Address,
    *,
    amount: int,
    fee: int,
    asset: int,
    valid_until: int,
) -> Records:
    """One record of any kind, with nonce 0. ShapeError for a value beyond its field."""
    record = build_transfers(
        senders=key.public_key,
        recipients=recipient,
        amounts=amount,
        nonces=0,
        fee=fee,
        asset=asset,
        valid_until=valid_until,
    )
    record["kind"], record["body_size"] = kind, len(body)
    return record


def sign_order(key: KeyPair, record: Records, body: bytes, nonce: int, transaction_key: bytes) -> None:
    """Fill in nonce and signature of one record, in place."""
    record["nonce"] = nonce
    offsets = body_offsets(record, len(body))
    sign_records(record, transaction_key, [key], np.zeros(1, int), bodies=body, body_offsets=offsets)
