"""The level of the log of a node that runs, and a support bundle of it."""

import json
import tarfile

from node_processes import NodeProcess, cherrydag
from waiting import wait_until

from cherrydag.cli.exits import Exit
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import create_solo


def test_the_level_is_set_while_it_runs_and_a_bundle_has_its_last_lines(tmp_path):
    folder = create_solo(tmp_path / "l", created_ms=TimestampMs(1_700_000_000_000)).folder
    cherrydag("log-level", folder, "debug", code=Exit.CONFIG)
    (folder / "log-level").write_text("error\n")
    (folder / "log-level").chmod(0o600)
    with NodeProcess(folder, "--peers", "") as node:
        assert not (folder / "log-level").exists()
        told = json.loads(cherrydag("log-level", folder, "debug", "--json"))
        assert told == {"level": "debug", "process": node.process.pid}
        wait_until(lambda: [event["now"] for event in node.events("log_level")] == ["debug"])
        cherrydag("log-level", folder, "configured")
        wait_until(lambda: [event["now"] for event in node.events("log_level")] == ["debug", "info"])
        cherrydag("support-bundle", folder, "-o", tmp_path / "b.tar.gz")
        with tarfile.open(tmp_path / "b.tar.gz") as tar:
            names = {name.removeprefix("cherrydag-support/") for name in tar.getnames()}
            assert {"status.json", "peers.json", "limits.json", "metrics.txt"} <= names
            log = tar.extractfile("cherrydag-support/folder/recent.log")
            figures = tar.extractfile("cherrydag-support/metrics.txt")
            assert log is not None and figures is not None
            assert "log_level" in log.read().decode() and b"cherrydag_ready" in figures.read()
        assert node.stop() == 0
