"""What ships for operators: alerts, dashboard, unit, container file. A real Prometheus tries them."""

import configparser
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib import request

import pytest
from node_processes import NodeProcess
from waiting import PATIENCE_S

from cherrydag.bench.ports import free_ports
from cherrydag.primitives import TimestampMs
from cherrydag.rpc.metric_families import PREFIX, Kind
from cherrydag.rpc.metrics import GROUPS
from cherrydag.rpc.metrics_process import STANDARD
from cherrydag.runtime.home import create_network

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
RULES = OPS / "prometheus" / "cherrydag.rules.yml"
NAME = re.compile(r"\b((?:cherrydag|process)_[a-z0-9_]+)\b")

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed"
)


def scraped_names() -> set[str]:
    """Every series that a node tells."""
    names = set(STANDARD)
    for group in GROUPS:
        for family in group.families:
            if family.kind is Kind.HISTOGRAM:
                names |= {f"{PREFIX}{family.name}_{part}" for part in ("bucket", "count", "sum")}
            else:
                names.add(family.full_name)
    return names


def alerts() -> dict[str, str]:
    """Each alert, and the lines of its rule."""
    parts = re.split(r"^ +- alert: (\w+)$", RULES.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_figure_of_an_alert_exists():
    used = {name for text in alerts().values() for name in NAME.findall(text)}
    assert used and used <= scraped_names()


def test_every_alert_has_its_place_in_the_runbook():
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    headings = re.findall(r"^## (\w+)$", runbook, re.MULTILINE)
    assert headings == list(dict.fromkeys(headings)) and set(headings) == set(alerts())
    for name, text in alerts().items():
        assert f"runbook: docs/runbook.md#{name.lower()}\n" in text + "\n"
        assert "severity: " in text and "summary: " in text


def test_every_alert_is_tried():
    tried = (OPS / "prometheus" / "cherrydag.tests.yml").read_text()
    assert set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", tried)) == set(alerts())


def test_every_query_of_the_dashboard_has_its_figure():
    board = json.loads((OPS / "grafana" / "cherrydag.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) > 20
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert panel["targets"] and panel["title"]
        for target in panel["targets"]:
            used = set(NAME.findall(target["expr"]))
            assert used and used <= scraped_names(), (panel["title"], used - scraped_names())


def test_no_panel_lies_over_another():
    board = json.loads((OPS / "grafana" / "cherrydag.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "cherrydag.rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "cherrydag.tests.yml"),
    ],
    ids=" ".join,
)
def test_promtool_takes_them(words):
    done = subprocess.run(
        ["promtool", *words], cwd=OPS / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_takes_every_query_of_the_dashboard(tmp_path):
    board = json.loads((OPS / "grafana" / "cherrydag.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$instance", ".*")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """One that scrapes these nodes once a second."""

    def __init__(self, folder: Path, apis: list[str]) -> None:
        folder.mkdir()
        self.port = free_ports(1)[0]
        rules = re.sub(r"for: \w+", "for: 0s", RULES.read_text())
        (folder / "cherrydag.rules.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "rule_files: [cherrydag.rules.yml]\n"
            "scrape_configs:\n- job_name: cherrydag\n  static_configs:\n"
            f"  - targets: {json.dumps([api.removeprefix('http://') for api in apis])}\n"
        )
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    f"--storage.tsdb.path={folder / 'data'}",
                ],
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def get(self, path: str):
        with request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())["data"]

    def firing(self) -> set[str]:
        found = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}

    def until(self, condition) -> None:
        ends_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                if condition(self):
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends_s, self.log.read_text()
            time.sleep(0.2)


@needs_prometheus
@pytest.mark.slow
def test_a_lost_quorum_raises_its_alerts_in_a_real_prometheus(tmp_path):
    ports = free_ports(3)
    homes = create_network(
        tmp_path / "net",
        [f"127.0.0.1:{port}" for port in ports],
        created_ms=TimestampMs(int(time.time() * 1000)),
    )
    nodes = [NodeProcess(home.folder) for home in homes]
    with (
        nodes[0],
        nodes[1],
        nodes[2],
        Prometheus(tmp_path / "prometheus", [n.api for n in nodes[:2]]) as watch,
    ):
        wanted = "query?query=count(cherrydag_ready==1)"
        watch.until(lambda it: it.get(wanted)["result"] and it.get(wanted)["result"][0]["value"][1] == "2")
        calm = watch.firing() - {
            "CherrydagClockDrift",
            "CherrydagLoopLate",
        }  # of a machine that does much else
        assert not calm
        nodes[2].kill()
        watch.until(lambda it: "CherrydagPeersBelowQuorum" in it.firing())
        watch.until(lambda it: {"CherrydagFinalityStalled", "CherrydagNotReady"} <= it.firing())
        assert "CherrydagDiverged" not in watch.firing()


# The unit and the container file


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(OPS / "systemd" / "cherrydag@.service")
    return parser


def test_the_unit_lets_a_node_drain_and_leaves_it_nothing_but_its_folder():
    service = unit()["Service"]
    assert service["Type"] == "notify" and service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"]) > 10
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictSUIDSGID"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict" and service["UMask"] == "0077"
    assert service["StateDirectoryMode"] == "0700" and service["CapabilityBoundingSet"] == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path):
    text = (OPS / "systemd" / "cherrydag@.service").read_text()
    file = tmp_path / "cherrydag@main.service"
    file.write_text(text.replace("/usr/local/bin/cherrydag", shutil.which("true") or "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cherrydag@main.service:" not in done.stderr, done.stderr


def test_the_container_runs_as_nobody_in_particular_and_says_how_it_is():
    lines = (OPS / "container" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    known = {"FROM", "RUN", "COPY", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD", "WORKDIR", "EXPOSE", "VOLUME"}
    known |= {"ENV", "ARG", "LABEL", "STOPSIGNAL"}
    assert {step for step, _ in steps} <= known
    stages = [words for step, words in steps if step == "FROM"]
    assert len(stages) == 2 and stages[0].lower().endswith(" as build")
    last = steps[max(at for at, (step, _) in enumerate(steps) if step == "FROM") :]
    users = [words for step, words in last if step == "USER"]
    assert users and users[-1].split(":")[0] not in ("0", "root")
    made = " ".join(words for step, words in last if step == "RUN")
    assert f"--gid {users[-1].split(':')[1]} " in made  # the group has its number, too
    (health,) = [words for step, words in last if step == "HEALTHCHECK"]
    assert "/livez" in health and "urllib" not in health  # which would ask a proxy
    (entry,) = [words for step, words in last if step == "ENTRYPOINT"]
    assert json.loads(entry)[0] == "tini"  # a process number 1 loses what it does not handle yet
    for step, words in last:
        if step in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(words), list)
    copied = [words for step, words in steps if step == "COPY" and "--from" not in words]
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert sent[1] == "*"
    for words in copied:
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.removeprefix('./')}" in sent, source
