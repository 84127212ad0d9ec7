"""The measurement of a node that joins late."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cherrydag.bench.catching_up import NEAR_COMMITS, CatchUpSettings, run_catch_up
from cherrydag.bench.local_run import loopback
from cherrydag.errors import ConfigError
from cherrydag.signing import Progress


@contextmanager
def no_bar(_: str) -> Iterator[Progress]:
    yield lambda done, total: None


def settings_in(folder: Path) -> CatchUpSettings:
    return CatchUpSettings(
        spec=loopback(4, 400, observers=1, first_port=None),
        folder=folder / "run",
        history=folder / "history",
        workloads=folder / "workloads",
        rate=1000.0,
        seconds=2.0,
    )


@pytest.mark.slow
def test_an_observer_that_joins_late_executes_the_history_while_others_go_on(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    told = run_catch_up(settings, no_bar, lambda _: None)
    assert told.failures == []
    _, own, others, executed = told.timeline[-1]
    assert own >= others - NEAR_COMMITS  # the last few commits may still come
    assert settings.transfers // 2 < told.transfers == executed <= settings.transfers == 2000
    assert told.rate > 0 and set(told.cpu_us) == {"v0", "v1", "v2", "v3", "v4"}
    assert [own for _, own, _, _ in told.timeline] == sorted(own for _, own, _, _ in told.timeline)
    shutil.rmtree(settings.folder)
    again = run_catch_up(replace(settings, meanwhile=400.0), no_bar, lambda _: None)
    assert again.failures == []
    assert again.transfers > settings.transfers // 2
    assert again.load_rate > 0 == told.load_rate


def test_a_kept_history_is_whole_and_of_the_settings_it_was_made_with(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    settings = settings_in(tmp_path)
    with pytest.raises(ConfigError, match="not completed"):
        run_catch_up(settings, no_bar, lambda _: None)
    (tmp_path / "history" / "history").write_text("another")
    with pytest.raises(ConfigError, match="history of another"):
        run_catch_up(settings, no_bar, lambda _: None)
