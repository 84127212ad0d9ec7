"""What an examination finds: one line each, with what to do about it."""

from enum import IntEnum
from typing import NamedTuple


class Level(IntEnum):
    """How bad it is."""

    OK = 0
    WARN = 1
    """It works, but not as well or as safely as it could."""
    FAIL = 2
    """The node does not start, or is of no use, before this is mended."""

    @property
    def label(self) -> str:
        """As it is printed."""
        return self.name.lower()


class Finding(NamedTuple):
    """topic: what was looked at. advice: what to do, '' if nothing needs to be done."""

    topic: str
    level: Level
    words: str
    advice: str = ""


def ok(topic: str, words: str) -> Finding:
    """All is well."""
    return Finding(topic, Level.OK, words)


def warn(topic: str, words: str, advice: str) -> Finding:
    """It could be better."""
    return Finding(topic, Level.WARN, words, advice)


def fail(topic: str, words: str, advice: str) -> Finding:
    """It must be mended."""
    return Finding(topic, Level.FAIL, words, advice)


def worst(findings: list[Finding]) -> Level:
    """The highest level among them."""
    return max((finding.level for finding in findings), default=Level.OK)
