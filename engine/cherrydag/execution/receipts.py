"""Receipts of modules' operations as bytes: what a node keeps of them and tells its clients.

Canonical JSON in UTF-8, since the events of a module that is not loaded must still be readable: a list of
[vertex, row, status, refusal, events]; an event is [name, fields]; bytes are {"$hex": digits}.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from cherrydag.errors import StorageError
from cherrydag.execution.executor import OperationReceipt
from cherrydag.execution.module import Event


class StoredEvent(NamedTuple):
    """An event as it was told: its stable name, its fields by name (int, str, bytes, lists of these)."""

    name: str
    fields: Mapping[str, Any]


class StoredReceipt(NamedTuple):
    """The receipt of the operation in a row of a vertex of a commit. refusal: the module's code, or empty."""

    vertex: int
    row: int
    status: int
    refusal: str
    events: tuple[StoredEvent, ...]


def encode_receipts(receipts: Iterable[OperationReceipt]) -> bytes:
    """The bytes of a commit's receipts; none for none."""
    listed = [
        [item.vertex, item.row, int(item.receipt.status), item.receipt.refusal, _events(item.receipt.events)]
        for item in receipts
    ]
    return json.dumps(listed, separators=(",", ":"), sort_keys=True).encode() if listed else b""


def decode_receipts(data: bytes) -> tuple[StoredReceipt, ...]:
    """The receipts in what encode_receipts made. StorageError for anything else."""
    if not data:
        return ()
    try:
        return tuple(
            StoredReceipt(
                vertex, row, status, refusal, tuple(StoredEvent(*_value(event)) for event in events)
            )
            for vertex, row, status, refusal, events in json.loads(data)
        )
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"receipts: {len(data)} bytes that are none: {error}") from error


def _events(events: Iterable[Event]) -> list[Any]:
    return [
        [event.name, {item.name: _plain(getattr(event, item.name)) for item in fields(event)}]
        for event in events
    ]


def _plain(value: object) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$hex": bytes(value).hex()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$hex"}:
            return bytes.fromhex(value["$hex"])
        return {name: _value(item) for name, item in value.items()}
    return [_value(item) for item in value] if isinstance(value, list) else value
