"""Waiting for what must come, for as long as a machine that has other things to do may take."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 180
"""Only what never comes takes so long."""

_POLL_S: Final = 0.01


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(_POLL_S)


def wait_until(condition: Callable[[], object]) -> None:
    """Where there is no loop."""
    ends_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_s, f"it did not come within {PATIENCE_S} s"
        time.sleep(_POLL_S)
