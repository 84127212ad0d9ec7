"""What calls an API at full speed: its requests, and what it takes for an answer."""

# ruff: noqa: E402 - the bench is imported as the tool does it

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

sys.path[1:1] = [str(Path(__file__).resolve().parents[2] / "bench")]

from call_load import Wanted, _load, frames

RESULT = b'"result":{'
GOOD, BAD = b'{"id":1,"result":{}}', b'{"id":1,"error":{}}'


@asynccontextmanager
async def server(body: bytes, status: int = 200) -> AsyncIterator[str]:
    """Answers each request so, in two parts."""

    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        whole = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        while (await reader.read(65_536)).endswith(b"{}"):
            writer.write(whole[:30])
            await writer.drain()
            writer.write(whole[30:])
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, served))


def wanted(url: str, calls: int) -> Wanted:
    return Wanted(url, (b"{}",), RESULT, calls, connections=2, seconds=0.02)


@pytest.mark.parametrize("calls", [1, 3])
async def test_every_call_of_an_answer_has_its_result(calls: int) -> None:
    async with server(b"[" + b",".join([GOOD] * calls) + b"]") as url:
        done = await _load(wanted(url, calls))
    assert done.latencies_us and done.seconds >= 0.02


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + GOOD + b"," + BAD + b"]", 200),
        (b"[" + GOOD + b"]", 200),
        (b"[" + GOOD + b"," + GOOD + b"]", 503),
    ],
)
async def test_an_answer_with_less_is_none(body: bytes, status: int) -> None:
    async with server(body, status) as url:
        with pytest.raises(ConnectionError, match=r"none|not 200"):
            await _load(wanted(url, 2))


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (125, b"\x81\xfd"),
        (126, b"\x81\xfe\x00\x7e"),
        (65_535, b"\x81\xfe\xff\xff"),
        (65_536, b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_tells_its_length(size: int, head: bytes) -> None:
    (frame,) = frames([bytes(size)])
    assert frame.startswith(head) and len(frame) == len(head) + 4 + size
