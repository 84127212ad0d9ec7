"""Bodies of operations: a strict reader. Any bytes are read whole or refused with a code."""

from enum import StrEnum
from itertools import pairwise
from typing import Final

from cherrydag.errors import Rejected
from cherrydag.params import ADDRESS_BYTES
from cherrydag.primitives import Address

ZERO_ADDRESS: Final = Address(bytes(ADDRESS_BYTES))
"""What stands in a record's recipient when an operation has none."""


class BodyRefusal(StrEnum):
    """Why an operation is malformed; stable codes."""

    TRUNCATED = "body_truncated"
    """The body ends before its last field."""
    TRAILING = "body_trailing"
    """The body goes on behind its last field."""
    COUNT = "body_count"
    """A count is beyond its limits."""
    ORDER = "body_order"
    """A list is not strictly ascending."""
    FIELD_SET = "body_field_set"
    """A field of the record is set that the operation has no use for."""


class BodyReader:
    """Reads a body field by field, integers little-endian. Raises Rejected with a BodyRefusal."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._at + size
        if end > len(self._body):
            raise Rejected(BodyRefusal.TRUNCATED, f"body: {len(self._body)} bytes, at least {end} expected")
        field = self._body[self._at : end]
        self._at = end
        return field

    def integer(self, size: int) -> int:
        """An unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def address(self) -> Address:
        """An address."""
        return Address(self.take(ADDRESS_BYTES))

    def addresses(self, count_max: int) -> tuple[Address, ...]:
        """A count, u8, 1 to count_max, and as many addresses, strictly ascending."""
        count = self.integer(1)
        if not 1 <= count <= count_max:
            raise Rejected(BodyRefusal.COUNT, f"addresses: expected 1 to {count_max}, got {count}")
        listed = tuple([self.address() for _ in range(count)])
        if any(a >= b for a, b in pairwise(listed)):
            raise Rejected(BodyRefusal.ORDER, "addresses: not strictly ascending")
        return listed

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._body):
            rest = len(self._body) - self._at
            raise Rejected(BodyRefusal.TRAILING, f"body: {rest} bytes behind the last field")


def encode_addresses(addresses: tuple[Address, ...]) -> bytes:
    """The bytes that BodyReader.addresses reads; the order is the caller's care."""
    return bytes([len(addresses)]) + b"".join(addresses)
