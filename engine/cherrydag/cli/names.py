"""What codes of the ledger are called."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cherrydag.execution.accounts import Status
from cherrydag.execution.catalogue import MODULES, modules_of
from cherrydag.execution.module import ModuleRegistry, OperationStatus
from cherrydag.transaction import Kind

STATUS_NAMES: Final[dict[int, str]] = {status.value: status.name.lower() for status in Status} | {
    status.value: status.name.lower() for status in OperationStatus
}


def status_name(code: int) -> str:
    """What came of a transaction."""
    return STATUS_NAMES.get(code, f"status_{code}")


def kind_name(code: int, modules: Iterable[str]) -> str:
    """What a transaction does. modules: of its chain, whose registry names their operations."""
    if code == Kind.TRANSFER:
        return "transfer"
    return _registry(tuple(modules)).name_of(code) or f"operation {code}"


@lru_cache(maxsize=1)
def _registry(modules: tuple[str, ...]) -> ModuleRegistry:
    """A node's chain may have modules that this program does not know."""
    return ModuleRegistry(modules_of(name for name in modules if name in MODULES))
