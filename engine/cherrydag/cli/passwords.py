"""Passwords of keys: from a file, or asked for."""

import warnings
from collections.abc import Callable
from getpass import GetPassWarning
from pathlib import Path
from typing import Final, TypeVar

import click

from cherrydag.errors import ConfigError, Rejected

PASSWORD_CHARS_MAX: Final = 1024
"""Longest password in a file."""

_MISSING: Final = "key_password_missing"  # keystore.KeyRefusal.PASSWORD_MISSING

_Result = TypeVar("_Result")


def with_password(file: Path | None, use: Callable[[str | None], _Result]) -> _Result:
    """Call `use` with a key's password: the file's; else none, and if the key turns out to be encrypted, the
    one that is asked for."""
    if file is not None:
        return use(read_password(file))
    try:
        return use(None)
    except Rejected as refusal:
        if refusal.code != _MISSING:
            raise
    return use(_asked("Password", twice=False))


def new_password(file: Path | None, none: bool, title: str = "New password") -> str | None:
    """The password that a key is to have: the file's, none, or the one that is asked for, twice."""
    if none and file is not None:
        raise click.UsageError("give a password file or --no-password, not both")
    if none:
        return None
    if file is not None:
        return read_password(file)
    return _asked(title, twice=True)


def _asked(title: str, *, twice: bool) -> str:
    """What somebody types, unseen. UsageError if there is no terminal."""
    again = "The same again" if twice else False
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)  # it would read on from stdin, and echo
        try:
            asked: str = click.prompt(title, hide_input=True, confirmation_prompt=again, err=True)
        except GetPassWarning:
            raise click.UsageError("there is no terminal to ask for the password: give a file") from None
    return asked


def read_password(file: Path) -> str:
    """The first line of a file. ConfigError if it is empty or too long."""
    with file.open(encoding="utf-8") as lines:
        try:
            line = lines.readline(PASSWORD_CHARS_MAX + 2).rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file}: not UTF-8 at byte {error.start}") from error
    if not 1 <= len(line) <= PASSWORD_CHARS_MAX:
        raise ConfigError(
            f"{file}: expected a password of 1 to {PASSWORD_CHARS_MAX} characters in its first line"
        )
    return line
