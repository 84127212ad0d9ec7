"""`cherrydag doctor`: each finding, on both sides of its bound."""

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from cherrydag import __version__
from cherrydag.cli.doctor import machine, network
from cherrydag.cli.doctor.examination import examine
from cherrydag.cli.doctor.findings import Finding, Level, ok, warn, worst
from cherrydag.cli.doctor.folder import Found, look
from cherrydag.cli.doctor.machine import ClockState
from cherrydag.cli.doctor.network import Answer, Dials, Target
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.config import Config, Place
from cherrydag.primitives import Stake, TimestampMs
from cherrydag.runtime.home import SIGN_STATE, VALIDATOR, Home, create_network, create_solo
from cherrydag.runtime.marks import RunInfo, enter_safe_mode, pid_namespace
from cherrydag.signing import generate_keypair
from cherrydag.watch import DISK_LOW_BYTES

NOW_MS = TimestampMs(1_700_000_000_000)
GIB = 1 << 30


def level_of(finding: Finding) -> str:
    assert bool(finding.advice) == (finding.level is not Level.OK)
    return finding.level.label


def levels(folder: Path) -> dict[str, str]:
    """The worst level of each topic that the folder's own state gives."""
    findings, _ = look(folder, {})
    found: dict[str, Level] = {}
    for finding in findings:
        level_of(finding)
        found[finding.topic] = max(finding.level, found.get(finding.topic, Level.OK))
    return {topic: level.label for topic, level in found.items()}


@pytest.fixture
def solo(tmp_path) -> Home:
    return create_solo(tmp_path / "l", created_ms=NOW_MS)


# Clock


@pytest.mark.parametrize(
    ("offset_ms", "level"),
    [(0, "ok"), (199, "ok"), (-199, "ok"), (200, "warn"), (-399, "warn"), (400, "fail"), (-400, "fail")],
)
def test_a_clock_is_judged_by_the_others_first(offset_ms, level):
    for state in (None, ClockState(False, 0.0), ClockState(True, 0.0)):
        assert level_of(machine.clock(state, offset_ms)) == level


def test_without_others_the_kernel_is_asked():
    assert level_of(machine.clock(None, None)) == "warn"
    assert level_of(machine.clock(ClockState(False, 0.0), None)) == "warn"
    assert level_of(machine.clock(ClockState(True, 3.0), None)) == "ok"


def test_the_kernels_clock_is_read_or_nothing_is_said():
    state = machine.clock_state()
    assert state is None or state.error_ms >= 0


# Disk


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (machine.DISK_LEAST_BYTES - 1, "fail"),
        (machine.DISK_LEAST_BYTES, "warn"),
        (DISK_LOW_BYTES - 1, "warn"),
        (DISK_LOW_BYTES, "ok"),
    ],
)
def test_room_on_the_disk(free, level):
    assert level_of(machine.disk_space(free, 100 * GIB)) == level


def test_one_slow_write_is_no_slow_disk():
    slow = machine.FSYNC_SLOW_MS
    assert level_of(machine.disk_speed([1.0, 1.0, 900.0])) == "ok"
    assert level_of(machine.disk_speed([slow])) == "ok"
    assert level_of(machine.disk_speed([slow + 0.1])) == "warn"


@pytest.mark.parametrize(("kind", "level"), [("ext4", "ok"), ("tmpfs", "warn"), ("nfs4", "fail"), ("", "ok")])
def test_the_file_system(kind, level):
    assert level_of(machine.disk_kind(kind)) == level


def test_a_probe_of_the_disk_leaves_nothing_behind(tmp_path):
    assert [finding.topic for finding in machine.disk(tmp_path)] == ["disk space", "disk speed", "disk kind"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told():
    assert [level_of(finding) for finding in machine.disk(Path("/proc"))][1] == "fail"


# Processor, memory, limits


def test_the_processor():
    best = ("avx2", "portable")
    assert level_of(machine.processor("avx2", best, 2)) == "ok"
    assert level_of(machine.processor("avx2", best, 1)) == "warn"
    assert "CHERRYDAG_BACKEND" in machine.processor("portable", best, 2).advice
    assert "AVX2" in machine.processor("portable", ("portable",), 2).advice
    assert machine.processor_here().level <= Level.WARN


@pytest.mark.parametrize(
    ("total", "limit", "level"),
    [
        (machine.MEMORY_GOOD_BYTES, None, "ok"),
        (machine.MEMORY_GOOD_BYTES - 1, None, "warn"),
        (64 * GIB, machine.MEMORY_LEAST_BYTES, "warn"),
        (64 * GIB, machine.MEMORY_LEAST_BYTES - 1, "fail"),
    ],
)
def test_memory_and_what_a_control_group_leaves_of_it(total, limit, level):
    assert level_of(machine.memory(total, limit)) == level


def test_the_address_space():
    assert level_of(machine.address_space(-1, GIB)) == "ok"
    assert level_of(machine.address_space(GIB, GIB)) == "ok"
    assert level_of(machine.address_space(GIB - 1, GIB)) == "fail"


@pytest.mark.parametrize(
    ("hard", "level"), [(99, "fail"), (100, "warn"), (199, "warn"), (200, "ok"), (-1, "ok")]
)
def test_open_files(hard, level):
    assert level_of(machine.open_files(hard, 100, 200)) == level


# The folder


def test_a_sound_folder(solo):
    assert set(levels(solo.folder).values()) == {"ok"}
    assert {"genesis", "keys", "settings", "sign-state"} <= set(levels(solo.folder))


def test_nothing_in_the_folder_changes(solo):
    def image() -> dict[str, tuple[int, bytes]]:
        paths = sorted(path for path in solo.folder.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mode, path.read_bytes()) for path in paths}

    Home.load(solo.folder)  # keeps the genesis as bytes
    before = image()
    examine(solo.folder)
    assert image() == before


def test_no_folder_of_a_ledger(tmp_path):
    assert levels(tmp_path) == {"genesis": "fail"}
    findings = examine(tmp_path)
    assert worst(findings) is Level.FAIL and {"clock", "memory"} <= {one.topic for one in findings}


def test_a_genesis_that_is_damaged(solo):
    (solo.folder / "genesis.toml").write_text("version = ")
    assert levels(solo.folder) == {"genesis": "fail"}


def test_a_setting_that_is_unknown(solo):
    (solo.folder / "config.toml").write_text("[peers]\nlisen = 'x'\n")
    findings, _ = look(solo.folder, {})
    (found,) = [one for one in findings if one.topic == "settings"]
    assert found.level is Level.FAIL and "peers.listen" in found.words


def test_a_setting_that_may_surprise(tmp_path):
    homes = create_network(tmp_path / "n", ["", ""], created_ms=NOW_MS)
    assert levels(homes[0].folder)["settings"] == "warn"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read(solo, mode):
    for path in (solo.folder / "keys").iterdir():
        if path.is_file():
            path.chmod(mode)
    findings, _ = look(solo.folder, {})
    (found,) = [one for one in findings if one.topic == "keys"]
    assert found.level is Level.FAIL and "chmod 600" in found.words


def test_a_keystore_that_others_may_enter(solo):
    (solo.folder / "keys").chmod(0o755)
    assert levels(solo.folder)["keys"] == "fail"


def test_a_key_that_is_not_there(solo):
    next(path for path in (solo.folder / "keys").iterdir() if VALIDATOR in path.name).unlink()
    assert levels(solo.folder)["keys"] == "fail"


def test_a_networks_validator_without_a_password_is_a_warning(tmp_path):
    homes = create_network(tmp_path / "n", ["", ""], created_ms=NOW_MS)
    assert levels(homes[0].folder)["key password"] == "warn"


def test_a_sign_state_that_is_lost_damaged_or_open_to_others(solo):
    path = solo.folder / SIGN_STATE
    image = path.read_bytes()
    path.chmod(0o644)
    assert levels(solo.folder)["sign-state"] == "fail"
    path.chmod(0o600)
    path.write_bytes(bytes(100) + image[100:])
    assert levels(solo.folder)["sign-state"] == "warn"
    path.write_bytes(bytes(len(image)))
    assert levels(solo.folder)["sign-state"] == "fail"
    path.unlink()
    assert levels(solo.folder)["sign-state"] == "fail"


def test_a_sign_state_that_another_process_has_is_told(solo):
    key = solo.keystore.list_keys()
    public_key = next(one.public_key for one in key if one.name == VALIDATOR)
    with solo.sign_state(public_key):
        assert levels(solo.folder)["sign-state"] == "warn"


def test_safe_mode_and_a_divergence(solo):
    enter_safe_mode(solo.folder, 3)
    assert levels(solo.folder)["safe mode"] == "fail"
    (solo.folder / "divergence-7.json").write_text(json.dumps({"served_index": 5}))
    (solo.folder / "divergence-7.json").chmod(0o600)
    assert levels(solo.folder)["divergence"] == "fail"


# Ports and peers


def test_a_port_that_is_taken_and_an_address_of_another_machine():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place("127.0.0.1", taken.getsockname()[1])
        assert level_of(network.could_listen("api port", "api.listen", place)) == "fail"
    assert level_of(network.could_listen("api port", "api.listen", place)) == "ok"
    assert level_of(network.could_listen("api port", "api.listen", Place("192.0.2.1", 0))) == "fail"


def network_of(tmp_path, count: int):
    hosts = [f"127.0.0.1:{number + 1}" for number in range(count)]
    return create_network(tmp_path / "n", hosts, created_ms=NOW_MS)[0].genesis


def peers_level(genesis, *faults: str) -> str:
    """The verdict where the first validator asks the others, and these faults are met."""
    own = genesis.validators[0].public_key
    wanted = network.targets(genesis, Config(), own)
    answers = [Answer(target, fault) for target, fault in zip(wanted, faults, strict=True)]
    findings = list(network.peers(genesis, own, answers))
    assert sum(one.topic.startswith("peer ") for one in findings) == sum(map(bool, faults))
    return level_of(findings[-1])


def test_peers_are_judged_by_whether_they_make_a_quorum(tmp_path):
    genesis = network_of(tmp_path, 4)
    assert peers_level(genesis, "", "", "") == "ok"
    assert peers_level(genesis, "refused", "", "") == "ok"
    assert peers_level(genesis, "refused", "late", "") == "fail"


def test_validators_whose_places_nobody_knows(tmp_path):
    genesis = create_network(tmp_path / "n", ["", ""], created_ms=NOW_MS)[0].genesis
    own = genesis.validators[0].public_key
    assert network.targets(genesis, Config(), own) == []
    assert [level_of(one) for one in network.peers(genesis, own, [])] == ["warn"]


def test_a_solo_chain_needs_no_peers(solo):
    own = solo.genesis.validators[0].public_key
    assert [level_of(one) for one in network.peers(solo.genesis, own, [])] == ["ok"]


def test_who_does_not_answer_holds_nobody_up_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "PEERS_S", 0.3)
    genesis = network_of(tmp_path, 2)
    key = generate_keypair(b"\x09" * 32).public_key
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as gone:
        mute = Target("mute", key, Place("127.0.0.1", silent.getsockname()[1]), Stake(1))
        away = Target("away", genesis.digest, Place("127.0.0.1", gone.getsockname()[1]), Stake(1))  # type: ignore[arg-type]
        gone.close()
        answers = Dials(genesis, [mute, away]).answers()
    assert [answer.target.name for answer in answers] == ["mute", "away"]
    assert all(answer.fault for answer in answers)
    assert "refused" in answers[1].fault


class Half(BaseHTTPRequestHandler):
    """A busy node: it tells its status, and no figures in time."""

    def do_POST(self) -> None:
        told = {"round": 7, "commit_index": 5, "is_ready": True, "reasons": [], "version": __version__}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": told}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.figures_asked.set()  # type: ignore[attr-defined]
        self.server.is_over.wait()  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_node_too_busy_for_its_figures_is_still_told(solo, monkeypatch):
    monkeypatch.setattr(network, "API_S", 0.5)
    with ThreadingHTTPServer(("127.0.0.1", 0), Half) as server:
        server.figures_asked, server.is_over = threading.Event(), threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        info = RunInfo(os.getpid(), f"http://127.0.0.1:{server.server_port}", "", pid_namespace())
        told, offset_ms = network.node(Found(solo, None, None, info))
        server.is_over.set()
        server.shutdown()
    assert [(one.topic, level_of(one)) for one in told] == [("node", "ok"), ("running version", "ok")]
    assert offset_ms is None and server.figures_asked.is_set()


# The command


def test_the_command_tells_all_and_ends_with_its_code(solo, monkeypatch):
    runner = CliRunner()
    (solo.folder / "config.toml").write_text('[api]\nlisten = "127.0.0.1:0"\n')
    done = runner.invoke(cli, ["doctor", str(solo.folder), "--json"])
    told = json.loads(done.output)
    assert done.exit_code == 0 and told["level"] in ("ok", "warn")
    assert {finding["topic"] for finding in told["findings"]} >= {
        *("versions", "genesis", "settings", "keys", "sign-state", "clock", "disk space", "disk speed"),
        *("processor", "memory", "open files", "peers port", "api port", "peers", "node"),
    }
    (solo.folder / SIGN_STATE).unlink()
    done = runner.invoke(cli, ["doctor", str(solo.folder)])
    assert done.exit_code == Exit.UNHEALTHY
    assert "fail  sign-state" in done.output and "restore it" in done.output
    assert runner.invoke(cli, ["doctor"]).exit_code == 0


def test_what_is_looked_at_cannot_steer_a_terminal(solo, monkeypatch):
    nasty = solo.folder.parent / "x\x1b[31m"
    done = CliRunner().invoke(cli, ["doctor", os.fspath(nasty)])
    assert done.exit_code == Exit.UNHEALTHY and "\x1b" not in done.output


def test_the_worst_finding_counts():
    assert worst([]) is Level.OK
    assert worst([ok("a", "b"), warn("c", "d", "e")]) is Level.WARN
