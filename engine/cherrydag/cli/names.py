"""What codes of the ledger are called."""

from typing import Final

from cherrydag.execution.accounts import Status
from cherrydag.execution.module import OperationStatus
from cherrydag.transaction import Kind

STATUS_NAMES: Final[dict[int, str]] = {status.value: status.name.lower() for status in Status} | {
    status.value: status.name.lower() for status in OperationStatus
}


def status_name(code: int) -> str:
    """What came of a transaction."""
    return STATUS_NAMES.get(code, f"status_{code}")


def kind_name(code: int) -> str:
    """What a transaction does."""
    return "transfer" if code == Kind.TRANSFER else f"operation {code}"
