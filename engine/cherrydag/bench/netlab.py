"""Slow, lossy and parted networks on one machine: a namespace for each node, and a bridge that delays.

    with NetLab(4) as lab:
        lab.set_all(LinkRule(delay_ms=50, jitter_ms=5))
        subprocess.Popen([*lab.prefix(0), "program", "--listen", lab.address(0)])
        lab.partition([[0, 1], [2, 3]])

Each namespace has two interfaces. `address` is on a TUN device whose packets the bridge carries by the rules
of their link; `control_address` is on a pair of veth to this namespace, undelayed, for those who measure.
Rules may change at any time. Linux, root, /dev/net/tun and `ip` are needed; `Unsupported` says what is
missing. The bridge is a process of its own, which takes everything away when `close` is called or its
parent dies, however it dies; what is left behind by one that was killed itself, the next one takes away.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cherrydag.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

NODES_MAX: Final = 100
"""Most namespaces of a lab."""

NAMESPACE: Final = "cherrylab"
"""Names of namespaces begin so; the bridge's process id and the node's number follow."""

TUN: Final = Path("/dev/net/tun")
SUBNET: Final = "10.77.0"

_STOP_S: Final = 10.0
_CLONE_NEWNET: Final = 0x40000000
_NAMED: Final = Path("/run/netns")  # where `ip netns` keeps them
_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


class Unsupported(ConfigError):  # noqa: N818 - it says what is the case
    """This machine, or this user, cannot have such a lab. The message says why."""


@dataclass(frozen=True, slots=True)
class LinkRule:
    """What a link does to packets in one direction. Raises ConfigError for a value out of range.

    delay_ms: each is this late, give or take jitter_ms, and none overtakes another. loss: the share that is
    lost. bytes_per_s: the rate; None: as fast as it goes. Packets that would wait for longer than a second
    for it are lost. is_cut: all are.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    bytes_per_s: float | None = None
    is_cut: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ms <= 60_000 or not 0 <= self.jitter_ms <= self.delay_ms:
            raise ConfigError(f"link: expected 0 <= jitter_ms <= delay_ms <= 60000, got {self}")
        if not 0 <= self.loss <= 1:
            raise ConfigError(f"link: expected a loss of 0 to 1, got {self.loss}")
        if self.bytes_per_s is not None and self.bytes_per_s < 1000:
            raise ConfigError(f"link: expected at least 1000 bytes_per_s, got {self.bytes_per_s}")


PERFECT: Final = LinkRule()


def check_supported() -> None:
    """Unsupported if there can be no lab here."""
    if sys.platform != "linux":
        raise Unsupported("network namespaces need Linux")
    if os.geteuid() != 0:
        raise Unsupported("network namespaces need root: run this as root")
    lacking = [name for name, bit in _CAPABILITIES.items() if not _capabilities() >> bit & 1]
    if lacking:
        raise Unsupported(f"network namespaces need {' and '.join(lacking)}, which this root lacks")
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise Unsupported(f"{TUN} is not there, or may not be used")
    if shutil.which("ip") is None:
        raise Unsupported("the program `ip` is not there; on Debian: apt install iproute2")


def _capabilities() -> int:
    """The effective ones of this process, a bit each."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


class NetLab:
    """Some namespaces, numbered from 0, and the links between all of them. `with` takes them away.

    Raises Unsupported, or ConfigError for a count out of range. mtu: largest packet; small ones cost the
    bridge more, up to 100 us of CPU each. seed: of losses and jitter.
    """

    def __init__(self, count: int, *, mtu: int = 9000, seed: int = 1) -> None:
        if not 1 <= count <= NODES_MAX:
            raise ConfigError(f"lab: expected 1 to {NODES_MAX} nodes, got {count}")
        check_supported()
        self.count = count
        self._rules = {(a, b): PERFECT for a in range(count) for b in range(count) if a != b}
        self._bridge = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "cherrydag.bench.netbridge", str(count), str(mtu), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is for us: it ends when we have done
        )
        try:
            made = self._answer()
        except BaseException:
            self.close()
            raise
        self._namespaces: list[str] = made["namespaces"]
        self._controls: list[str] = made["controls"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away. Programs in the namespaces go on, without a network. Idempotent."""
        for pipe in (self._bridge.stdin, self._bridge.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._bridge.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._bridge.kill()
            self._bridge.wait()

    # Places

    def prefix(self, number: int) -> tuple[str, ...]:
        """Words before a command line that put it into a node's namespace; it keeps its process id."""
        return ("ip", "netns", "exec", self._namespaces[number])

    def enter(self, number: int) -> None:
        """Put this process, forked from the lab's, into a node's namespace. The lab is its parent's alone."""
        for pipe in (self._bridge.stdin, self._bridge.stdout):
            if pipe is not None:
                pipe.close()  # else the bridge would outlive the parent
        namespace = os.open(_NAMED / self._namespaces[number], os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace, _CLONE_NEWNET):
                raise Unsupported(f"setns: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(namespace)

    def address(self, number: int) -> str:
        """A node's address for the others, behind the links; the same in every lab."""
        return f"{SUBNET}.{number + 1}"

    def control_address(self, number: int) -> str:
        """A node's address for this namespace, without delay."""
        return self._controls[number]

    # Links

    def rule(self, source: int, target: int) -> LinkRule:
        """What is in force from one to another."""
        return self._rules[source, target]

    def set(self, source: int, target: int, rule: LinkRule) -> None:
        """Of one direction."""
        self._apply({(source, target): rule})

    def set_pair(self, a: int, b: int, rule: LinkRule) -> None:
        """Of both directions."""
        self._apply({(a, b): rule, (b, a): rule})

    def set_all(self, rule: LinkRule) -> None:
        """Of every link."""
        self._apply(dict.fromkeys(self._rules, rule))

    def partition(self, groups: Sequence[Sequence[int]]) -> None:
        """Cut all links between different groups and mend those within one; who is in none is alone."""
        group_of = {number: at for at, group in enumerate(groups) for number in group}
        self._apply(
            {
                (a, b): replace(rule, is_cut=group_of.get(a, -1 - a) != group_of.get(b, -1 - b))
                for (a, b), rule in self._rules.items()
            }
        )

    def heal(self) -> None:
        """Mend every cut."""
        self._apply({link: replace(rule, is_cut=False) for link, rule in self._rules.items()})

    def counts(self) -> dict[str, int]:
        """Packets so far: forwarded, lost by rule, dropped for want of room or of a target."""
        told = self._ask({"counts": True})
        return {name: int(value) for name, value in told.items()}

    def _apply(self, rules: dict[tuple[int, int], LinkRule]) -> None:
        for link in rules:
            if link not in self._rules:
                raise ConfigError(f"lab: there is no link {link}")
        self._ask({"rules": [[*link, asdict(rule)] for link, rule in rules.items()]})
        self._rules |= rules

    # The bridge

    def _ask(self, question: dict[str, Any]) -> Any:
        if self._bridge.stdin is None or self._bridge.stdin.closed:
            raise Unsupported("the lab is closed")
        self._bridge.stdin.write(json.dumps(question) + "\n")
        self._bridge.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._bridge.stdout.readline() if self._bridge.stdout is not None else ""
        if not line:
            raise Unsupported(f"the lab's bridge has ended with status {self._bridge.wait()}")
        told = json.loads(line)
        if "error" in told:
            raise Unsupported(told["error"])
        return told
