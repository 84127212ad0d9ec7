"""Errors by what the caller can do about them.

ShapeError and InvariantViolation are bugs of ours; Rejected is a client's mistake and PeerFault a peer's,
each with a stable code; Overloaded asks to come back later. Every message names the cause and the limit
that was hit.
"""

import errno


class CherrydagError(Exception):
    """Base of every error that this package raises on purpose."""


class ShapeError(CherrydagError, ValueError):
    """An argument has the wrong length, layout or item type: our bug, never a peer's."""


class StorageError(CherrydagError):
    """The database cannot be trusted or cannot be written: fatal. The message names what, where and why."""


class NoRoom(StorageError):  # noqa: N818 - the field's word
    """The disk is full, or the quota is used up. Nothing is broken: once there is room, the same succeeds."""


def write_error(code: int | None, message: str) -> StorageError:
    """What to raise for a refused write. code: of the system (errno)."""
    return NoRoom(message) if code in (errno.ENOSPC, errno.EDQUOT) else StorageError(message)


class InUse(StorageError):  # noqa: N818 - the field's word
    """Another process has the folder or the key. Nothing is wrong with it."""


class ConfigError(CherrydagError, ValueError):
    """The configuration is wrong: name the key, the value and what is allowed."""


class InvariantViolation(CherrydagError):  # noqa: N818 - it is one, and is never caught
    """Something that must hold did not. Never caught: the process stops."""


class Rejected(CherrydagError):  # noqa: N818 - the field's word
    """A client's input was refused. `code` is stable, `str()` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PeerFault(CherrydagError):  # noqa: N818 - the field's word
    """A peer broke a rule of the protocol: penalise it and drop what it sent.

    `code` is stable, a member of the raising layer's enum; `str()` names the field and the limit.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Overloaded(CherrydagError):  # noqa: N818 - the field's word
    """A bounded queue is full. Nothing was lost; try again when work has drained.

    limit: the bound, retry_after_ms: when to come back; None where they are not known.
    """

    def __init__(self, message: str, *, limit: int | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after_ms = retry_after_ms


class Closed(CherrydagError):  # noqa: N818 - the field's word
    """The object was closed, or belongs to another process."""


def invariant(condition: bool, statement: str, **facts: object) -> None:
    """Stop if `condition` is false. `statement` says what must hold; `facts` go into the message."""
    if not condition:
        shown = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        raise InvariantViolation(f"{statement}{': ' + shown if shown else ''}")
