"""The process behind `netlab`: makes the namespaces, carries their packets, and takes them away again.

`python -m cherrydag.bench.netbridge COUNT MTU SEED`; questions come as lines of JSON on stdin, each gets one
line of answer, and the end of stdin is the end.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import re
import select
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from cherrydag.bench.netlab import NAMESPACE, PERFECT, SUBNET, TUN, LinkRule

QUEUE_S: Final = 1.0
"""Longest wait for a link's rate."""

QUEUED_BYTES_MAX: Final = 256 << 20
"""Of packets that are under way on all links; more are dropped."""

_PACKET_BYTES: Final = 1 << 16
_BURST: Final = 64
_TX_QUEUE: Final = 10_000  # packets; TCP keeps the bytes small
_IFREQ: Final = struct.Struct("16sH")
_TUNSETIFF: Final = 0x400454CA
_TUN_NO_INFO: Final = 0x1001  # IFF_TUN | IFF_NO_PI
_CONTROL_BLOCKS: Final = range(128, 255)
_LOCK: Final = Path("/run/cherrylab.lock")
_MODULE: Final = b"cherrydag.bench.netbridge"
_NAMESPACES: Final = re.compile(rf"^(?P<name>{NAMESPACE}-(?P<owner>[0-9]+)-[0-9]+)\b", re.MULTILINE)
_CONTROLS: Final = re.compile(r"^[0-9]+: (?P<name>cl[0-9]+v(?P<owner>[0-9]+))@", re.MULTILINE)


class CannotSetUpError(Exception):
    """A step of the set-up failed."""


class Namespaces:
    """The namespaces of one lab, and the descriptors of their TUN devices."""

    def __init__(self, count: int, mtu: int) -> None:
        self.names: list[str] = []
        self.controls: list[str] = []
        self.tuns: list[int] = []
        self._mtu = mtu
        with _LOCK.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another lab that is made now would take the same block
            sweep()
            block = _free_block()
            try:
                for number in range(count):
                    self._make(number, f"10.{block}.{number}")
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Take all of them away, and their devices with them."""
        for tun in self.tuns:
            os.close(tun)
        for name in self.names:
            _delete(name)
        self.tuns, self.names = [], []

    def _make(self, number: int, control: str) -> None:
        name, device = f"{NAMESPACE}-{os.getpid()}-{number}", f"cl{number}t{os.getpid()}"
        _ip(f"netns add {name}")
        self.names.append(name)
        tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        self.tuns.append(tun)
        fcntl.ioctl(tun, _TUNSETIFF, _IFREQ.pack(device.encode(), _TUN_NO_INFO))
        _ip(f"link set {device} netns {name} name lab")
        _ip(f"-n {name} addr add {SUBNET}.{number + 1}/24 dev lab")
        _ip(f"-n {name} link set lab mtu {self._mtu} txqueuelen {_TX_QUEUE} up")
        _ip(f"-n {name} link set lo up")
        _ip(f"link add {_control(name)} type veth peer name control netns {name}")
        _ip(f"addr add {control}.1/30 dev {_control(name)}")
        _ip(f"link set {_control(name)} up")
        _ip(f"-n {name} addr add {control}.2/30 dev control")
        _ip(f"-n {name} link set control up")
        self.controls.append(f"{control}.2")


def sweep() -> None:
    """Take away what bridges left behind that have ended."""
    for pattern, words, remove in (
        (_NAMESPACES, "netns list", _delete),
        (_CONTROLS, "-o link show type veth", _delete_device),
    ):
        for found in pattern.finditer(_ip(words)):
            if not _is_bridge(int(found["owner"])):
                remove(found["name"])


def _control(name: str) -> str:
    """The end of a namespace's control pair that is here."""
    _, owner, number = name.split("-")
    return f"cl{number}v{owner}"


def _is_bridge(pid: int) -> bool:
    """Whether that process is one of these; its number may be another's by now."""
    try:
        return _MODULE in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _free_block() -> int:
    """The second part of control addresses that nobody here has."""
    taken = _ip("-o addr show").split()
    for block in _CONTROL_BLOCKS:
        if not any(word.startswith(f"10.{block}.") for word in taken):
            return block
    raise CannotSetUpError("all of 10.128.0.0/9 is in use")


def _delete(name: str) -> None:
    # A socket that waits for its last answer keeps a namespace that has no name any more, and its devices.
    _delete_device(_control(name))
    with suppress(CannotSetUpError):
        _ip(f"netns del {name}")


def _delete_device(name: str) -> None:
    with suppress(CannotSetUpError):
        _ip(f"link del {name}")


def _ip(words: str) -> str:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise CannotSetUpError(f"ip {words}: {done.stderr.strip()}")
    return done.stdout


class _Packet(NamedTuple):
    at_s: float
    number: int
    target: int
    data: bytes


class Bridge:
    """Carries packets between TUN devices by the rules of their links."""

    def __init__(self, tuns: list[int], seed: int) -> None:
        self.rules: dict[tuple[int, int], LinkRule] = {}
        self.counts = {"forwarded": 0, "lost": 0, "dropped": 0}
        self._tuns = tuns
        self._chance = random.Random(seed)  # noqa: S311 - of losses
        self._under_way: list[_Packet] = []
        self._queued_bytes = 0
        self._numbers = 0
        self._free_s: dict[tuple[int, int], float] = {}
        self._last_s: dict[tuple[int, int], float] = {}

    def run(self, questions: int) -> None:
        """Until there are no more questions on this descriptor."""
        sources = {tun: number for number, tun in enumerate(self._tuns)}
        pending = b""
        while True:
            self._deliver(time.monotonic())
            wait_s = max(0.0, self._under_way[0].at_s - time.monotonic()) if self._under_way else None
            ready, _, _ = select.select([*self._tuns, questions], [], [], wait_s)
            for descriptor in ready:
                if descriptor != questions:
                    self._take(sources[descriptor], descriptor)
                    continue
                read = os.read(questions, _PACKET_BYTES)
                if not read:
                    return
                *lines, pending = (pending + read).split(b"\n")
                for line in lines:
                    _tell(self._answer(json.loads(line)))

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        for source, target, fields in question.get("rules", ()):
            self.rules[source, target] = LinkRule(**fields)
        return self.counts if "counts" in question else {}

    def _deliver(self, now_s: float) -> None:
        while self._under_way and self._under_way[0].at_s <= now_s:
            packet = heapq.heappop(self._under_way)
            self._queued_bytes -= len(packet.data)
            try:
                os.write(self._tuns[packet.target], packet.data)
                self.counts["forwarded"] += 1
            except OSError:  # its device is down, or its queue is full
                self.counts["dropped"] += 1

    def _take(self, source: int, tun: int) -> None:
        for _ in range(_BURST):
            try:
                data = os.read(tun, _PACKET_BYTES)
            except BlockingIOError:
                return
            self._send(source, data)

    def _send(self, source: int, data: bytes) -> None:
        target = data[19] - 1 if len(data) >= 20 and data[0] >> 4 == 4 else -1
        if not 0 <= target < len(self._tuns) or self._queued_bytes + len(data) > QUEUED_BYTES_MAX:
            self.counts["dropped"] += 1
            return
        link = source, target
        rule = self.rules.get(link, PERFECT)
        if rule.is_cut or (rule.loss and self._chance.random() < rule.loss):
            self.counts["lost"] += 1
            return
        at_s = now_s = time.monotonic()
        if rule.bytes_per_s is not None:
            at_s = max(now_s, self._free_s.get(link, 0.0)) + len(data) / rule.bytes_per_s
            if at_s > now_s + QUEUE_S:
                self.counts["lost"] += 1
                return
            self._free_s[link] = at_s
        at_s += (rule.delay_ms + self._chance.uniform(-rule.jitter_ms, rule.jitter_ms)) / 1000
        self._last_s[link] = at_s = max(at_s, self._last_s.get(link, 0.0))
        self._numbers += 1
        self._queued_bytes += len(data)
        heapq.heappush(self._under_way, _Packet(at_s, self._numbers, target, data))


def _tell(answer: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # it has gone: the end of stdin says so
        os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")


def main(count: int, mtu: int, seed: int) -> int:
    """Make them, carry, take them away."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end of stdin is what ends it
    try:
        namespaces = Namespaces(count, mtu)
    except (CannotSetUpError, OSError) as error:
        _tell({"error": str(error)})
        return 1
    try:
        _tell({"namespaces": namespaces.names, "controls": namespaces.controls})
        Bridge(namespaces.tuns, seed).run(sys.stdin.fileno())
    finally:
        namespaces.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
