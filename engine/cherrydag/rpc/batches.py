"""Binary batches over HTTP: records in, columns or rows out. No loop runs over rows."""

from typing import Final, NamedTuple

import numpy as np
import orjson

from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import Rejected
from cherrydag.params import RECORD_BYTES
from cherrydag.rpc.choices import accepts
from cherrydag.rpc.forms import submission_columns, submission_rows
from cherrydag.runtime.lookups import CommitEvent
from cherrydag.runtime.submissions import Submission
from cherrydag.transaction import Bytes, Records, as_records

OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"

ROW_BYTES: Final = RECORD_BYTES + DIGEST_BYTES + 1
"""Of a commit's transaction: its record, its id, its status, each in a column of its own."""


class Batch(NamedTuple):
    """What a body of binary records holds."""

    records: Records
    bodies: Bytes


def split_batch(body: bytes, count: int | None) -> Batch:
    """Records and bodies of a binary submission. count: of records; None: the body has nothing else.

    Rejected unless the body has as many.
    """
    if count is None:
        if len(body) % RECORD_BYTES:
            raise Rejected(
                "submission_records",
                f"body: {len(body)} bytes are not a whole number of {RECORD_BYTES}-byte records; "
                "X-Records says how many there are where bodies follow",
            )
        count = len(body) // RECORD_BYTES
    if count * RECORD_BYTES > len(body):
        raise Rejected(
            "submission_records",
            f"body: {count} records have {count * RECORD_BYTES} bytes, got {len(body)}",
        )
    size = count * RECORD_BYTES
    return Batch(as_records(body[:size] if size < len(body) else body), memoryview(body)[size:])


def encode_submission(submission: Submission, is_settled: bool, accept: str) -> tuple[bytes, str]:
    """The answer to a submission and its content type: JSON if it is asked for, else n rows of ANSWER."""
    if accepts(accept, JSON):
        columns = {"is_settled": is_settled, **submission_columns(submission)}
        return orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY), JSON
    return submission_rows(submission), OCTETS


def encode_rows(event: CommitEvent, first: int, count: int) -> tuple[bytes, int]:
    """Up to `count` transactions of a commit from row `first` on, column by column, and how many they are:
    n x 176 bytes of records, n x 32 of ids, n of statuses."""
    last = min(len(event.records), first + count)
    n = max(0, last - first)
    if n == 0:
        return b"", 0
    records = np.ascontiguousarray(event.records[first:last]).tobytes()
    ids = event.ids[first * DIGEST_BYTES : last * DIGEST_BYTES]
    return records + ids + event.statuses[first:last].tobytes(), n
