"""What tools/soak.py makes of its samples."""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from cherrydag.devnet.figures import Figures, LoadFigures

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = argparse.Namespace(validators=2, rate=10, slope_max=64.0, disk_max=400.0)


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    setup = ModuleType("_setup")
    setup.bootstrap = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "_setup", setup)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import soak

    return soak


def run(
    soak: ModuleType,
    minutes: float,
    mib_h: float = 0.0,
    files_h: float = 0.0,
    nodes: int = 2,
    runs: int = 40,
    disk_bytes: int = 200,
    load_s: float = 60.0,
) -> object:
    """A run whose memory and files begin with a jump and then grow so fast."""
    made = soak.Soak()
    for at in range(round(minutes * 6)):
        at_s, hours = at * 10.0, at / 360
        for number in range(nodes):
            warm = 0.0 if at < minutes * 2 else 50.0
            one = soak.Sample(at_s, warm + mib_h * hours, 9.0, round(40 + files_h * hours), runs if at else 0)
            made.nodes.setdefault(f"v{number}", []).append(one)
        made.disk.append((at_s, at * 10 * disk_bytes * nodes, at * 10))
    load = LoadFigures(600, 600, 0, load_s, None)
    made.last = Figures(60.0, 0, 0, 600, None, 0, load, (), 0, 0)
    return soak.summary(made, OPTIONS, 60)


def test_a_flat_run_has_no_fault_whatever_its_start_was_like(soak: ModuleType) -> None:
    told = run(soak, 6)
    assert told.faults == []
    assert told.disk_bytes == 200
    assert told.nodes["v0"]["memory_slope_mib_h"] == 0 and told.nodes["v0"]["samples"] == 24


@pytest.mark.parametrize(("mib_h", "words"), [(63, None), (66, "memory grows by 66.0 MiB an hour")])
def test_memory_that_grows_is_a_fault(soak: ModuleType, mib_h: float, words: str | None) -> None:
    told = run(soak, 6, mib_h=mib_h)
    assert told.faults == ([] if words is None else [f"v0: {words}", f"v1: {words}"])


def test_files_that_stay_open_are_a_fault(soak: ModuleType) -> None:
    (first, _) = run(soak, 6, files_h=60).faults
    assert first.startswith("v0: open files grow by ")


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"runs": 41}, "v0: 41 sorted files of indexes, expected at most 40"),
        ({"disk_bytes": 401}, "401.0 bytes on disk a transfer and node, expected at most 400"),
        ({"load_s": 61.5}, "the load was 10/s instead of 10/s: who makes it had no core"),
    ],
)
def test_what_is_beyond_its_bound_is_a_fault(soak: ModuleType, spoilt: dict[str, float], words: str) -> None:
    assert run(soak, 6, **spoilt).faults[0] == words  # type: ignore[arg-type]


def test_bounds_are_inclusive(soak: ModuleType) -> None:
    assert run(soak, 6, disk_bytes=400, load_s=61.2).faults == []


def test_the_indexes_files_are_counted_apart(soak: ModuleType, tmp_path: Path) -> None:
    before = soak.sample(0.0, os.getpid())
    names = ["transactions-00000001.run", "accounts-00000002.run.new", "other"]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context((tmp_path / name).open("w"))
        now = soak.sample(1.0, os.getpid())
    assert (now.runs - before.runs, now.files - before.files) == (2, 1)


def test_a_node_that_nobody_looked_at_is_a_fault(soak: ModuleType) -> None:
    assert run(soak, 6, nodes=1).faults == ["only 1 nodes were looked at"]


@pytest.mark.parametrize(("minutes", "is_enough"), [(8 / 6, True), (7 / 6, False)])
def test_too_few_samples_tell_nothing(soak: ModuleType, minutes: float, is_enough: bool) -> None:
    assert any("too few" in fault for fault in run(soak, minutes).faults) is not is_enough


@pytest.mark.parametrize(
    "load", [None, LoadFigures(600, 599, 0, 60.0, None), LoadFigures(600, 600, 1, 60.0, None)]
)
def test_a_transfer_that_is_lost_is_a_fault(soak: ModuleType, load: LoadFigures | None) -> None:
    made = soak.Soak(last=Figures(60.0, 0, 0, 600, None, 0, load, (), 0, 0))
    assert any("not all was final" in fault for fault in soak.summary(made, OPTIONS, 60).faults)


def test_a_node_that_ends_is_a_fault(soak: ModuleType) -> None:
    assert "v1 ended" in soak.summary(soak.Soak(ended_names=["v1"]), OPTIONS, 60).faults
