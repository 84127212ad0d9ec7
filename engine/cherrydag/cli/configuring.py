"""A node's configuration, for the commands that use it or show it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from cherrydag.config_sources import Loaded, Sources, file_in, load


def loaded(folder: Path, file: Path | None, flags: Mapping[str, object]) -> Loaded:
    """What is in force for a folder's node. ConfigError names what is wrong."""
    return load(Sources(file_in(folder, file), os.environ, flags))


def flags_of(settings: Sequence[str], flags: Mapping[str, str | None]) -> dict[str, object]:
    """Settings of the form KEY=VALUE, and those that have flags of their own. UsageError if one is none."""
    found: dict[str, object] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--set: expected KEY=VALUE, got {text!r}")
        found[key.strip()] = value
    return found | {key: value for key, value in flags.items() if value is not None}
