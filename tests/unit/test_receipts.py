"""Receipts as bytes."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from cherrydag.errors import StorageError
from cherrydag.execution.accounts import Status
from cherrydag.execution.executor import OperationReceipt
from cherrydag.execution.module import Event, OperationStatus, Receipt
from cherrydag.execution.receipts import StoredEvent, StoredReceipt, decode_receipts, encode_receipts


@dataclass(frozen=True, slots=True)
class Told(Event):
    name: ClassVar[str] = "test.told"
    digest: bytes
    count: int
    words: str
    keys: tuple[bytes, ...]


def test_receipts_come_back_as_they_were() -> None:
    event = Told(b"\x00\xff", 2**128 - 1, '"quoted"', (b"a", b""))
    given = [
        OperationReceipt(0, 3, Receipt(Status.APPLIED, "", (event, event))),
        OperationReceipt(2, 0, Receipt(OperationStatus.REFUSED, "asset_unknown", ())),
    ]
    fields = {"digest": b"\x00\xff", "count": 2**128 - 1, "words": '"quoted"', "keys": [b"a", b""]}
    told = StoredEvent("test.told", fields)
    assert decode_receipts(encode_receipts(given)) == (
        StoredReceipt(0, 3, Status.APPLIED, "", (told, told)),
        StoredReceipt(2, 0, OperationStatus.REFUSED, "asset_unknown", ()),
    )
    assert encode_receipts(given) == encode_receipts(given)


def test_none_are_no_bytes() -> None:
    assert encode_receipts([]) == b"" and decode_receipts(b"") == ()


@pytest.mark.parametrize(
    "data", [b"{", b"[[1]]", b"[1]", b'[[0,0,1,"",[["a"]]]]', b'[[0,0,1,"",[["a",{"b":{"$hex":"g"}}]]]]']
)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(StorageError, match="receipts"):
        decode_receipts(data)
