"""What a command's exit code says."""

import errno
from enum import IntEnum
from typing import Final

from cherrydag.errors import (
    CherrydagError,
    ConfigError,
    InUse,
    Overloaded,
    PeerFault,
    Rejected,
    StorageError,
)


class Exit(IntEnum):
    """Exit codes; stable."""

    OK = 0
    CLOSED = 1
    USAGE = 2
    CONFIG = 3
    STORAGE = 4
    REJECTED = 5
    OVERLOADED = 6
    IN_USE = 7
    LISTEN = 8
    UNREACHABLE = 9
    UNHEALTHY = 10
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.OK: "done",
    Exit.CLOSED: "whoever read the output has gone",
    Exit.USAGE: "the command line is wrong",
    Exit.CONFIG: "a genesis, a folder or a file's mode is not as it must be",
    Exit.STORAGE: "the database is damaged, or something cannot be read or written",
    Exit.REJECTED: "the request was refused; its stable code stands in brackets",
    Exit.OVERLOADED: "a bounded queue is full: try again later",
    Exit.IN_USE: "another process has the ledger open",
    Exit.LISTEN: "an address to listen at is taken, or not this machine's",
    Exit.UNREACHABLE: "a node does not answer, or not as it must",
    Exit.UNHEALTHY: "`doctor` has found something that must be mended",
    Exit.INTERNAL: "a bug: please report it with what was printed",
    Exit.INTERRUPTED: "interrupted, or not confirmed",
}
_LISTEN: Final = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)


def exit_of(error: CherrydagError | OSError) -> Exit:
    """The code for an error."""
    if isinstance(error, ConfigError):
        return Exit.CONFIG
    if isinstance(error, StorageError):
        return Exit.IN_USE if isinstance(error, InUse) else Exit.STORAGE
    if isinstance(error, Rejected):
        return Exit.REJECTED
    if isinstance(error, Overloaded):
        return Exit.OVERLOADED
    if isinstance(error, PeerFault | ConnectionError):
        return Exit.UNREACHABLE
    if isinstance(error, OSError):
        return Exit.LISTEN if error.errno in _LISTEN else Exit.STORAGE
    return Exit.INTERNAL


def words_of(error: CherrydagError | OSError) -> str:
    """What an error says to a person: cause and limit, and the stable code if it has one."""
    if isinstance(error, Rejected):
        return f"{error} [{error.code}]"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
