"""The fuzz of a live node: cases over links and over the API, an honest network around, and what must hold.

A process of its own says the cases, so that what honest clients see is not its own waiting.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from attacks.attack import Facts
from attacks.cases import Kind, body, chance_of, frames, is_cutting, kind_of
from attacks.forge import Forger
from attacks.peer import GONE, Peer, frame, stranger_key
from attacks.site import HONEST, Network, Site, fetch
from attacks.watch import Span, Watch
from cherrydag.errors import PeerFault
from cherrydag.gossip.message_codec import MessageKind, decode_message
from cherrydag.gossip.messages import Push
from cherrydag.net.control import ControlKind
from cherrydag.rpc.jsonrpc import ErrorCode
from cherrydag.signing import KeyPair
from cherrydag.vertex import ValidatorVertex

_SAID_MAX: Final = 60
"""Cases of one connection: a stranger is banned after a hundred faults."""
_BESIDE: Final = 6
_TURN_S: Final = 10.0
_RATE: Final = 64
_TIMEOUT: Final = aiohttp.ClientTimeout(30)
_STATUSES: Final = frozenset((200, 202, 204, 400, 404, 413, 415, 503))
_LAG_MS: Final = 50.0
_LOG_CHARS: Final = 4000


@dataclass
class Tally:
    """What came of the cases. findings: what must not be, each with the number of a case near it."""

    said: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def found(self, number: int, what: str) -> None:
        """Something that must not be."""
        if len(self.findings) < 20:
            self.findings.append(f"case {number}: {what}")


class Sayer:
    """Says cases to the victim; connections are made anew whenever it has ended them."""

    def __init__(self, site: Site, seed: int, methods: Sequence[tuple[str, Sequence[str]]]) -> None:
        self.tally = Tally()
        self._site, self._seed, self._methods = site, seed, methods
        self._forger = Forger(site)
        self._strangers = 0
        self._banned = False
        self._http = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.close()

    async def say(self, numbers: Sequence[int]) -> None:
        """All of them, those of one kind in their order, the kinds beside one another."""
        by_kind: dict[Kind, list[int]] = {kind: [] for kind in Kind}
        for number in numbers:
            by_kind[kind_of(self._seed, number)].append(number)
        ways = [
            self._links(by_kind[Kind.VALIDATOR], is_validator=True),
            *[self._links(part, is_validator=False) for part in _dealt(by_kind[Kind.STRANGER])],
            *[self._sockets(part) for part in _dealt(by_kind[Kind.SOCKET])],
            *[self._posts(part) for part in _dealt(by_kind[Kind.HTTP])],
        ]
        await asyncio.gather(*ways)

    # Links

    async def _links(self, numbers: Sequence[int], *, is_validator: bool) -> None:
        waiting = list(reversed(numbers))
        while waiting:
            polite = is_validator and not self._banned
            key, stranger = self._site.validator_key, 0
            if not polite:
                self._strangers += 1
                stranger = 50_000 + self._strangers % 40_000
                key = stranger_key(stranger)
            try:
                peer = await Peer.greet(self._site, key, stranger)
            except GONE:
                if polite:
                    self._banned = True  # its cases are said by strangers from now on
                else:
                    await asyncio.sleep(0.02)
                continue
            try:
                await self._visit(peer, key, waiting, is_polite=polite)
            finally:
                peer.abort()

    async def _visit(self, peer: Peer, key: KeyPair, waiting: list[int], *, is_polite: bool) -> None:
        """One connection: cases until the node ends it; if it does not, it must answer a ping behind them."""
        listener = asyncio.create_task(self._listen(peer))
        number, was_cutting = -1, False
        try:
            for _ in range(min(len(waiting), _SAID_MAX)):
                number = waiting.pop()
                octets = frames(chance_of(self._seed, number), self._forger, key, is_polite=is_polite)
                was_cutting |= is_cutting(octets)
                self.tally.said["link"] += 1
                await peer.send(octets)
                if was_cutting:
                    break
                await asyncio.sleep(0)
            await peer.send(frame(ControlKind.PING, bytes(8)))
            async with asyncio.timeout(_TURN_S):
                await listener
            self.tally.ends["answers" if peer.goodbye is None else peer.goodbye.code] += 1
        except TimeoutError:
            if not was_cutting:
                self.tally.found(number, "no pong, and no goodbye")
        except GONE:
            self.tally.ends["cut" if peer.goodbye is None else peer.goodbye.code] += 1
        finally:
            listener.cancel()

    async def _listen(self, peer: Peer) -> None:
        """Until the pong or the end; what the node pushes is noted, so that cases are near what it knows."""
        with suppress(*GONE):
            while True:
                kind, octets = await peer.frame()
                if kind in (ControlKind.PONG, ControlKind.GOODBYE):
                    return
                if kind == MessageKind.PUSH:
                    with suppress(PeerFault):
                        message = decode_message(kind, octets)
                        if isinstance(message, Push) and isinstance(message.vertex, ValidatorVertex):
                            self._forger.note(message.vertex)

    # API

    async def _posts(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            octets = body(chance_of(self._seed, number), self._methods)
            self.tally.said["http"] += 1
            try:
                headers = {"Content-Type": "application/json"}
                async with self._http.post(self._site.api(), data=octets, headers=headers) as answer:
                    text = await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.tally.found(number, f"http: {type(error).__name__} {error}")
                continue
            self.tally.ends[str(answer.status)] += 1
            self._judge(number, answer.status, text)

    def _judge(self, number: int, status: int, text: bytes) -> None:
        if status not in _STATUSES:
            self.tally.found(number, f"http status {status}")
        elif text and (wrong := _wrong_answer(text)):
            self.tally.found(number, wrong)

    async def _sockets(self, numbers: Sequence[int]) -> None:
        waiting = list(reversed(numbers))
        while waiting:
            try:
                async with self._http.ws_connect(self._site.api() + "/ws", max_msg_size=0) as socket:
                    await self._converse(socket, waiting)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.tally.ends[f"ws {type(error).__name__}"] += 1
                await asyncio.sleep(0.05)

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse, waiting: list[int]) -> None:
        """Cases, each followed by a call whose answer must come unless the node ends the connection."""
        for _ in range(min(len(waiting), _SAID_MAX)):
            number = waiting.pop()
            octets = body(chance_of(self._seed, number), self._methods)
            self.tally.said["ws"] += 1
            token = f"after {number}"
            text = octets.decode("utf-8", "replace")
            await socket.send_str(text)
            await socket.send_str(json.dumps({"jsonrpc": "2.0", "id": token, "method": "limits"}))
            until_s = time.monotonic() + _TURN_S
            while True:
                if time.monotonic() > until_s:
                    self.tally.found(number, "ws: no answer")
                    return
                try:
                    message = await socket.receive(timeout=_TURN_S)
                except TimeoutError:
                    self.tally.found(number, "ws: no answer")
                    return
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.tally.ends[f"ws closed {socket.close_code}"] += 1
                    return
                if wrong := _wrong_answer(message.data.encode()):
                    self.tally.found(number, wrong)
                if f'"id":"{token}"' in message.data:
                    break
        self.tally.ends["ws kept"] += 1


def _dealt(numbers: list[int]) -> list[list[int]]:
    """To those who say them beside one another."""
    return [numbers[turn::_BESIDE] for turn in range(_BESIDE)]


def _wrong_answer(text: bytes) -> str:
    """What is wrong with an answer of the API; nothing if it is well formed and no fault of the node's."""
    try:
        told = json.loads(text)
    except ValueError as error:
        return f"an answer that is no JSON: {error}"
    for one in told if isinstance(told, list) else [told]:
        if not isinstance(one, dict) or one.get("jsonrpc") != "2.0":
            return "an answer that is none"
        fault = one.get("error")
        if fault is not None and fault.get("code") == ErrorCode.INTERNAL:
            return f"an internal error: {fault}"
    return ""


# The campaign


async def say_all(site: Site, seed: int, first: int, count: int) -> Facts:
    """The sayer's process."""
    status, document = fetch(site.api() + "/openrpc.json", 10.0)
    if status != 200:
        return {"findings": [f"openrpc.json: status {status}"]}
    methods = [(one["name"], [given["name"] for given in one["params"]]) for one in document["methods"]]
    sayer = Sayer(site, seed, methods)
    try:
        await sayer.say(range(first, first + count))
    finally:
        await sayer.close()
    tally = sayer.tally
    return {"said": dict(tally.said), "ends": dict(tally.ends.most_common()), "findings": tally.findings}


async def campaign(seed: int, first: int, count: int, folder: Path) -> dict[str, Any]:
    """Say `count` cases of a seed from `first` on to a node of a fresh network; what was seen."""
    with Network(folder) as network:
        watch = Watch(network.site, _RATE)
        await watch.start()
        try:
            await watch.span(3.0)
            before = await watch.span(8.0)
            during, facts = await _said(network, watch, seed, first, count)
            watch.cut()
            await asyncio.sleep(1.0)
            after = await watch.span(4.0)
        finally:
            await watch.stop()
        findings = [*facts.pop("findings", []), *_harm(network, before, during, after)]
    spans = {"before": before.figures(), "during": during.figures(), "after": after.figures()}
    return facts | spans | {"seed": seed, "first": first, "cases": count, "findings": findings}


async def _said(network: Network, watch: Watch, seed: int, first: int, count: int) -> tuple[Span, Facts]:
    """Run the sayer, and watch for as long as it takes."""
    arguments = [network.site.to_json(), str(seed), str(first), str(count)]
    process = await asyncio.create_subprocess_exec(
        "nice", "-n", "5", sys.executable, "-m", "attacks.live", *arguments,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    telling = asyncio.create_task(process.communicate())
    span, started_s = watch.begin(), time.monotonic()
    first_height = await watch.height()
    try:
        told, _ = await telling
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    span.seconds = time.monotonic() - started_s
    span.commits = await watch.height() - first_height
    if process.returncode:
        return span, {"findings": [f"the sayer ended with {process.returncode}"]}
    facts: Facts = json.loads(told)
    return span, facts


def _harm(network: Network, before: Span, during: Span, after: Span) -> list[str]:
    """What the cases must not have done."""
    found = network.dead()
    if not during.commits or not after.commits:
        found.append("the chain stood still")
    if during.lost or after.lost:
        found.append(f"{during.lost + after.lost} honest requests lost")
    quiet, loud = before.figures(), during.figures()
    if loud["lag_ms_p99"] > quiet["lag_ms_p99"] + _LAG_MS:
        found.append(f"the loop was late by {loud['lag_ms_p99']} ms at p99, {quiet['lag_ms_p99']} without")
    for node in range(HONEST):
        status, told = fetch(f"{network.site.api(node)}/readyz", 10.0)
        if status != 200:
            found.append(f"v{node} is not ready: {told}")
        _, mark, words = network.log(node).read_text(errors="replace").partition("Traceback")
        if mark:
            found.append(f"v{node} has logged an exception: {mark}{words[:_LOG_CHARS]}")
    return found


def run_live(seed: int, first: int, count: int, *, as_json: bool) -> int:
    """For tools/fuzz.py: one campaign, its figures, and how to say a case again. 1 if anything was found."""
    with tempfile.TemporaryDirectory(prefix="cherrydag-fuzz-") as folder:
        result = asyncio.run(campaign(seed, first, count, Path(folder)))
    findings = result["findings"]
    if as_json:
        print(json.dumps(result), flush=True)
    else:
        during = result["during"]
        verdict = "FOUND" if findings else "ok"
        lag = f"loop lag p99 {result['before']['lag_ms_p99']} -> {during['lag_ms_p99']} ms"
        print(f"live {verdict} {count:,} cases, seed {seed}; {lag}; said {result.get('said')}", flush=True)
    for finding in findings:
        print(f"fuzz: {finding}", file=sys.stderr)
    if findings:
        print(f"  replay: python3 tools/fuzz.py live --seed {seed} --case NUMBER", file=sys.stderr)
    return int(bool(findings))


if __name__ == "__main__":
    told = asyncio.run(say_all(Site.from_json(sys.argv[1]), *map(int, sys.argv[2:5])))
    print(json.dumps(told))
