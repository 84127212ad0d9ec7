"""What the tests of BLAKE3 hash, and what the blake3 package says of it."""

import random

import blake3
import pytest

KEY = bytes(range(100, 132))
CONTEXT = "cherrydag 2026-11 test context"
DATA = random.Random(20261).randbytes(3 * 1024 * 1024 + 1)

MODES = pytest.mark.parametrize("mode", ["hash", "keyed", "derived"])


def arguments(mode: str) -> dict[str, object]:
    return {"hash": {}, "keyed": {"key": KEY}, "derived": {"context": CONTEXT}}[mode]


def expected(message: bytes, mode: str = "hash") -> bytes:
    options = {"hash": {}, "keyed": {"key": KEY}, "derived": {"derive_key_context": CONTEXT}}[mode]
    return blake3.blake3(message, **options).digest()


def split(joined: bytes) -> list[bytes]:
    assert len(joined) % 32 == 0
    return [joined[i : i + 32] for i in range(0, len(joined), 32)]


def record_digests(rows: list[bytes], start: int, stop: int, mode: str = "hash") -> bytes:
    return b"".join(expected(row[start:stop], mode) for row in rows)
