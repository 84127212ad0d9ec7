"""What is around a node: its ports, its own API if it runs, and whether its peers answer under their keys."""

import json
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib import request

from cherrydag import __version__
from cherrydag.cli.doctor.findings import Finding, fail, ok, warn
from cherrydag.cli.doctor.folder import Found
from cherrydag.cli.output import plain
from cherrydag.config import Config, Place, listen_of, node_of, own_validator, peers_listen, place_of
from cherrydag.genesis import Genesis
from cherrydag.net.visitor import Visitor
from cherrydag.primitives import PublicKey, Stake

PEERS_S: Final = 1.5
"""How long the answers of all peers are waited for."""

API_S: Final = 1.0
"""How long the node itself is waited for."""

_LEFT_S: Final = 0.2

_ANSWER_BYTES_MAX: Final = 1 << 20
_SHOWN: Final = 8
_OFFSET: Final = re.compile(rb"^cherrydag_clock_offset_seconds (\S+)$", re.MULTILINE)
_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened to is reached there
_PRESENT: Final = ("full:", "banned:", "duplicate:", "same_key:")


# Ports


def ports(found: Found) -> Iterator[Finding]:
    """Whether the node could listen where it is to; of one that runs, whether it does."""
    if found.config is None or found.key is None:
        return
    own = own_validator(found.home.genesis, found.key.public_key)
    for topic, key, place in (
        ("peers port", "peers.listen", peers_listen(found.config, own)),
        ("api port", "api.listen", listen_of("api.listen", found.config.api.listen)),
    ):
        if found.info is not None:
            url = found.info.peers if topic == "peers port" else found.info.api.removeprefix("http://")
            yield _listens(topic, url)
        elif place is None:
            yield ok(topic, f"{key} is '': it does not listen")
        else:
            yield could_listen(topic, key, place)


def could_listen(topic: str, key: str, place: Place) -> Finding:
    """Whether a place is free, and this machine's."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((place.host, place.port))
            probe.listen(1)
    except OSError as error:
        advice = f"set {key} to an address of this machine and a port that is free: ss -ltnp shows who has it"
        return fail(topic, f"{place.text}: {error.strerror}", advice)
    return ok(topic, f"{place.text} is free")


def _listens(topic: str, text: str) -> Finding:
    if not text:
        return ok(topic, "it does not listen")
    place = place_of(topic, text)
    try:
        socket.create_connection((_HERE.get(place.host, place.host), place.port), API_S).close()
    except OSError as error:
        words = f"{text}: {error.strerror or error}"
        return fail(topic, words, "the node runs, but is not reached: see its log, and the firewall")
    return ok(topic, f"{text} answers")


# The node itself


def node(found: Found) -> tuple[list[Finding], float | None]:
    """What a node that runs says of itself; and others' clocks minus ours in milliseconds, if it knows."""
    info = found.info
    if info is None:
        return [ok("node", "does not run")], None
    if not info.api:
        return [ok("node", f"process {info.pid} runs, without an API or not up yet")], None
    ends_s = time.monotonic() + API_S
    try:
        status = call(info.api, "status")
    except (OSError, ValueError, LookupError) as error:
        advice = "it runs, but does not answer in time: see its log, or take a support bundle"
        return [fail("node", f"{info.api}: {plain(error)}", advice)], None
    offset_ms = None
    with suppress(OSError, ValueError):  # a busy node: the clock is judged by what the kernel says
        left_s = max(_LEFT_S, ends_s - time.monotonic())
        offset_ms = _offset_ms(get(f"{info.api}/metrics", timeout_s=left_s))
    return [_state(status), _version(status)], offset_ms


def _state(status: Mapping[str, Any]) -> Finding:
    words = f"round {status['round']}, commit {status['commit_index']}"
    if status["is_ready"]:
        return ok("node", f"of use to clients: {words}")
    reasons = "; ".join(plain(reason["text"]) for reason in status["reasons"])
    return warn("node", f"{words}; not ready: {reasons}", "docs/runbook.md says what each reason asks for")


def _version(status: Mapping[str, Any]) -> Finding:
    runs = plain(status["version"])
    if runs != __version__:
        words = f"the node runs {runs}, {__version__} is installed"
        return warn("running version", words, "restart it")
    return ok("running version", runs)


def call(api: str, method: str) -> dict[str, Any]:
    """The result of a method of a node's API. OSError, ValueError or LookupError if there is none."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}).encode()
    answer = json.loads(get(api, body))
    if not isinstance(answer.get("result"), dict):
        raise ValueError(f"{method}: {plain(answer.get('error', 'no result'))}")
    return dict(answer["result"])


def get(url: str, body: bytes | None = None, timeout_s: float = API_S) -> bytes:
    """What is there, at most a megabyte. OSError if it does not answer in time."""
    asked = request.Request(url, body, {"Content-Type": "application/json"} if body else {})  # noqa: S310
    opener = request.build_opener(request.ProxyHandler({}))
    with opener.open(asked, timeout=timeout_s) as response:
        return bytes(response.read(_ANSWER_BYTES_MAX))


def _offset_ms(figures: bytes) -> float | None:
    found = _OFFSET.search(figures)
    value = None if found is None else 1000 * float(found[1])
    return None if value is None or value != value else value  # NaN: nothing is known


# Peers


class Target(NamedTuple):
    """Whom to dial, where. stake: 0 of one that is no validator."""

    name: str
    key: PublicKey
    place: Place
    stake: Stake


class Answer(NamedTuple):
    """What came of it. fault: '' if it is there, under its key, and of this chain."""

    target: Target
    fault: str


def targets(genesis: Genesis, config: Config, own: PublicKey) -> list[Target]:
    """Everyone whose place is known: validators first, then who is configured."""
    known = dict(node_of("peers.known", text) for text in config.peers.known)
    found = []
    for validator in genesis.validators:
        places = [known.pop(validator.public_key)] if validator.public_key in known else []
        places = places or [place_of("genesis", text, port_min=1) for text in validator.hosts]
        if places and validator.public_key != own:
            found.append(Target(validator.name, validator.public_key, places[0], validator.stake))
    seeds = dict(node_of("peers.seeds", text) for text in config.peers.seeds)
    committee = {validator.public_key for validator in genesis.validators}
    for key, place in (known | seeds).items():
        if key != own and key not in committee:
            found.append(Target(f"node {key.hex()[:16]}", key, place, Stake(0)))
    return found


class Dials:
    """All targets dialled at once, each by a thread of its own, which a name server may hold up for long."""

    def __init__(self, genesis: Genesis, wanted: Sequence[Target]) -> None:
        self._genesis = genesis
        self._wanted = wanted
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._ends_s = time.monotonic() + PEERS_S
        for target in wanted:
            threading.Thread(target=self._dial, args=(target,), daemon=True).start()

    def answers(self) -> list[Answer]:
        """One for each, in order, when all are there or the time is over."""
        found: dict[PublicKey, Answer] = {}
        while len(found) < len(self._wanted):
            try:
                answer = self._answers.get(timeout=max(0.0, self._ends_s - time.monotonic()))
            except queue.Empty:
                break
            found[answer.target.key] = answer
        late = f"no answer within {PEERS_S:g} s"
        return [found.get(target.key, Answer(target, late)) for target in self._wanted]

    def _dial(self, target: Target) -> None:
        chain, epoch = self._genesis.digest, self._genesis.committee().epoch
        try:
            with Visitor(target.place, chain, epoch, PEERS_S) as visitor:
                proven = visitor.public_key
        except OSError as error:
            words = plain(error).removeprefix(f"{target.place.host}:{target.place.port}: ")
            self._answers.put(Answer(target, "" if words.startswith(_PRESENT) else words))
            return
        is_same = proven == target.key
        self._answers.put(Answer(target, "" if is_same else f"another key answers there: {proven.hex()}"))


def peers(genesis: Genesis, own: PublicKey, answers: Sequence[Answer]) -> Iterator[Finding]:
    """Who is missing, and whether those who are there make a quorum."""
    committee = genesis.committee()
    there = sum([answer.target.stake for answer in answers if not answer.fault], 0)
    there += sum(one.stake for one in genesis.validators if one.public_key == own)
    away = [answer for answer in answers if answer.fault]
    for answer in away[:_SHOWN]:
        target = answer.target
        advice = "is it up, is its port open for you, and is the place in the genesis or peers.known right?"
        yield warn(f"peer {target.name}", f"{target.place.text}: {answer.fault}", advice)
    if len(away) > _SHOWN:
        yield warn("peers", f"{len(away) - _SHOWN} more do not answer", "see your network and firewall")
    count = len(answers)
    if len(genesis.validators) == 1 and not count:
        yield ok("peers", "none are needed")
        return
    if not any(answer.target.stake for answer in answers) and len(genesis.validators) > 1:
        advice = "name some: validators' hosts in the genesis, or peers.known or peers.seeds"
        yield warn("peers", "no validator's place is known", advice)
        return
    words = f"{count - len(away)} of {count} answer under their keys; a stake of {there}, "
    words += f"a quorum is {committee.quorum}"
    if there < committee.quorum:
        yield fail("peers", words, "nothing becomes final without a quorum: bring the others up")
    else:
        yield ok("peers", words)
