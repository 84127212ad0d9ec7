"""The measurement of a node that joins late."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cherrydag.bench.catching_up import CatchUpSettings, run_catch_up
from cherrydag.bench.local_run import loopback
from cherrydag.errors import ConfigError
from cherrydag.signing import Progress

PORT = 12_000 + os.getpid() % 40 * 200
"""Of 200 that others are not likely to use at this time."""


@contextmanager
def no_bar(_: str) -> Iterator[Progress]:
    yield lambda done, total: None


@pytest.mark.slow
def test_an_observer_that_joins_late_executes_the_history_while_others_go_on(tmp_path: Path) -> None:
    settings = CatchUpSettings(
        spec=loopback(4, 400, PORT, observers=1),
        folder=tmp_path / "run",
        history=tmp_path / "history",
        workloads=tmp_path / "workloads",
        rate=1000.0,
        seconds=2.0,
    )
    told = run_catch_up(settings, no_bar, lambda _: None)
    assert told.failures == []
    assert told.transfers == settings.transfers == 2000
    assert told.rate > 0 and set(told.cpu_us) == {"v0", "v1", "v2", "v3", "v4"}
    assert [own for _, own, _, _ in told.timeline] == sorted(own for _, own, _, _ in told.timeline)
    shutil.rmtree(settings.folder)
    again = run_catch_up(replace(settings, meanwhile=400.0), no_bar, lambda _: None)
    assert again.failures == []
    assert again.transfers >= 2000


def test_a_kept_history_is_of_the_settings_it_was_made_with(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "history").write_text("another")
    settings = CatchUpSettings(
        spec=loopback(4, 400, PORT, observers=1),
        folder=tmp_path / "run",
        history=tmp_path / "history",
        workloads=tmp_path / "workloads",
        rate=1000.0,
        seconds=2.0,
    )
    with pytest.raises(ConfigError, match="history of another"):
        run_catch_up(settings, no_bar, lambda _: None)
