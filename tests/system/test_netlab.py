"""Labs of network namespaces. Where there is no root, only that this is said."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cherrydag.bench import netlab
from cherrydag.bench.netlab import LinkRule, NetLab, Unsupported, check_supported
from cherrydag.errors import ConfigError

DELAY_MS = 30

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9000))
print("up", flush=True)
while True:
    data, peer = s.recvfrom(2000)
    s.sendto(data, peer)
"""

PING = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[2]))
for n in range(3):
    began = time.monotonic()
    s.sendto(b"x", (sys.argv[1], 9000))
    try:
        s.recv(9)
        print((time.monotonic() - began) * 1000)
    except TimeoutError:
        print("lost")
"""


OWNER = """
from cherrydag.bench.netlab import NetLab
lab = NetLab(2)
print(lab._bridge.pid, lab.control_address(0), flush=True)
input()
"""


def is_supported() -> bool:
    try:
        check_supported()
    except Unsupported:
        return False
    return True


needs_root = pytest.mark.skipif(not is_supported(), reason="needs root, /dev/net/tun and ip")


@pytest.fixture(scope="module")
def lab() -> Iterator[NetLab]:
    with NetLab(3) as made:
        command = [*made.prefix(1), sys.executable, "-c", ECHO]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as echo:
            assert echo.stdout is not None and echo.stdout.readline() == b"up\n"
            yield made
            echo.kill()


def ping(prefix: tuple[str, ...], address: str, timeout_s: float = 20.0) -> list[str]:
    command = [*prefix, sys.executable, "-c", PING, address, str(timeout_s)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def namespaces(owner: int | None = None) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    wanted = f"{netlab.NAMESPACE}-" + (f"{owner}-" if owner is not None else "")
    return [line.split()[0] for line in listed.stdout.splitlines() if line.startswith(wanted)]


@needs_root
def test_a_packet_takes_the_delay_of_each_direction(lab: NetLab) -> None:
    lab.set_all(netlab.PERFECT)
    lab.set(0, 1, LinkRule(delay_ms=DELAY_MS, jitter_ms=1))
    lab.set(1, 0, LinkRule(delay_ms=2 * DELAY_MS))
    assert all(float(ms) >= 3 * DELAY_MS - 1 for ms in ping(lab.prefix(0), lab.address(1)))


@needs_root
def test_the_control_address_is_outside_of_the_links(lab: NetLab) -> None:
    lab.set_all(LinkRule(is_cut=True))
    assert "lost" not in ping((), lab.control_address(1))


@needs_root
def test_a_partition_cuts_and_heals_and_keeps_the_delay(lab: NetLab) -> None:
    lab.set_all(LinkRule(delay_ms=DELAY_MS))
    lab.partition([[0, 2], [1]])
    assert lab.rule(0, 1).is_cut and lab.rule(1, 2).is_cut and not lab.rule(0, 2).is_cut
    assert ping(lab.prefix(0), lab.address(1), 0.2) == ["lost"] * 3
    lab.partition([[0, 1]])
    assert lab.rule(2, 0).is_cut and not lab.rule(0, 1).is_cut
    lab.heal()
    assert all(float(ms) >= 2 * DELAY_MS for ms in ping(lab.prefix(0), lab.address(1)))


@needs_root
def test_everything_is_lost_where_the_loss_is_whole(lab: NetLab) -> None:
    lab.set_all(netlab.PERFECT)
    before = lab.counts()["lost"]
    lab.set(1, 0, LinkRule(loss=1.0))
    assert ping(lab.prefix(0), lab.address(1), 0.2) == ["lost"] * 3
    assert lab.counts()["lost"] == before + 3


@needs_root
def test_a_rate_takes_its_time_and_loses_what_would_wait_too_long(lab: NetLab) -> None:
    lab.set_all(netlab.PERFECT)
    lab.set(0, 1, LinkRule(bytes_per_s=1000))  # a packet of 29 bytes takes 29 ms
    assert all(float(ms) >= 29 for ms in ping(lab.prefix(0), lab.address(1)))


@needs_root
def test_an_unknown_link_is_refused(lab: NetLab) -> None:
    with pytest.raises(ConfigError, match="no link"):
        lab.set(0, 0, netlab.PERFECT)


@needs_root
def test_labs_that_are_made_at_one_time_have_addresses_of_their_own() -> None:
    owners = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = [owner.stdout.readline().split() for owner in owners if owner.stdout is not None]
    for owner in owners:  # who has ended has given its address back
        owner.communicate("\n")
    assert len({control for _, control in told}) == 3, told


@needs_root
def test_nothing_is_left_behind_even_when_the_owner_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        bridge = int(owner.stdout.readline().split()[0])
        assert len(namespaces(bridge)) == 2
        descriptor = os.pidfd_open(bridge)
        owner.kill()
    assert owner.returncode == -signal.SIGKILL
    select.select([descriptor], [], [])  # the bridge has ended
    os.close(descriptor)
    assert namespaces(bridge) == []


@needs_root
def test_what_a_killed_bridge_left_behind_is_taken_away_by_the_next() -> None:
    lab = NetLab(1)
    bridge = lab._bridge.pid
    lab._bridge.kill()
    with pytest.raises(Unsupported, match="ended"):
        lab.counts()
    lab.close()
    assert len(namespaces(bridge)) == 1
    with NetLab(1):
        assert namespaces(bridge) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"delay_ms": -1},
        {"delay_ms": 1, "jitter_ms": 2},
        {"loss": 1.01},
        {"bytes_per_s": 999},
        {"delay_ms": 60_001},
    ],
)
def test_rules_out_of_range_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="link"):
        LinkRule(**fields)  # type: ignore[arg-type]


def test_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unsupported, match="root"):
        NetLab(2)


@pytest.mark.parametrize(
    ("rights", "missing"),
    [(0, "CAP_NET_ADMIN and CAP_SYS_ADMIN"), (1 << 12, "CAP_SYS_ADMIN"), (1 << 21, "CAP_NET_ADMIN")],
)
def test_rights_that_this_root_lacks_are_named(
    monkeypatch: pytest.MonkeyPatch, rights: int, missing: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(netlab, "_capabilities", lambda: rights)
    with pytest.raises(Unsupported, match=f"need {missing}, which"):
        NetLab(2)
