"""`cherrydag doctor` beside nodes that run: what they say, and who answers under which key."""

import json
import time

from node_processes import NodeProcess, cherrydag

from cherrydag.bench.ports import free_ports
from cherrydag.cli.exits import Exit
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import create_network


def doctor(folder, code: int = 0) -> dict[str, dict[str, str]]:
    """The findings by topic."""
    from click.testing import CliRunner

    from cherrydag.cli.program import cli

    done = CliRunner().invoke(cli, ["doctor", str(folder), "--json"])
    assert done.exit_code == code, done.output
    return {one["topic"]: one for one in json.loads(done.output)["findings"]}


def test_a_pair_of_nodes_is_seen_up_away_and_under_another_key(tmp_path):
    ports = free_ports(2)
    homes = create_network(
        tmp_path / "n",
        [f"127.0.0.1:{port}" for port in ports],
        created_ms=TimestampMs(int(time.time() * 1000)),
    )
    here = homes[0].folder
    with NodeProcess(here) as node, NodeProcess(homes[1].folder) as other:
        found = doctor(here)
        assert found["peers"]["words"].startswith("1 of 1 answer under their keys")
        assert "is in use" not in found["sign-state"]["words"] and found["sign-state"]["level"] == "ok"
        assert str(node.process.pid) in found["sign-state"]["words"]
        assert found["peers port"]["words"].endswith("answers") and found["api port"]["level"] == "ok"
        assert found["running version"]["level"] == "ok" and found["node"]["level"] in ("ok", "warn")
        other.kill()
        found = doctor(here, Exit.UNHEALTHY)
        assert found["peer v1"]["level"] == "warn" and found["peers"]["level"] == "fail"
        key = homes[0].genesis.validators[1].public_key.hex()
        (here / "config.toml").write_text(f'[peers]\nknown = ["{key}@127.0.0.1:{ports[0]}"]\n')
        found = doctor(here, Exit.UNHEALTHY)
        assert "another key answers there" in found["peer v1"]["words"]
    assert "doctor" in cherrydag("--help")
