"""What a measurement says, from samples and counters that are made up."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cherrydag.bench.knee import KneeSearch, Step
from cherrydag.bench.lane import Counters
from cherrydag.bench.load import LoadOutcome, LoadSettings
from cherrydag.bench.measurement import Measured, Result, Snapshot, Watch, result, run
from cherrydag.bench.node_api import NodeFigures
from cherrydag.bench.plots import check_plot, plot_knee, plot_timeline
from cherrydag.bench.process_figures import (
    MAIN,
    MachineTime,
    ProcessFigures,
    ThreadTime,
    commit_of,
    machine,
    machine_time,
    process_figures,
)
from cherrydag.bench.report import knee_lines, lines
from cherrydag.errors import ConfigError

SECOND = 1_000_000


def snapshot(at_s: float, cpu_s: float, count: int, machine: MachineTime) -> Snapshot:
    threads = {MAIN: ThreadTime(cpu_s / 2, cpu_s)}
    process = ProcessFigures(cpu_s, threads, 1 << 20, 2 << 20, 0)
    node = NodeFigures(count, 2 * count, 3 * count, 0, 500 * count, 100 * count, 0, 0, False)
    return Snapshot(at_s, {"v0": process, "gone": None}, {"v0": node, "gone": None}, machine)


def measured(
    samples: list[tuple[int, int, int, int]], lost: Sequence[tuple[int, int]] = (), **counters: object
) -> Measured:
    """lost: moments and numbers of transfers that were due and never became final."""
    table = np.array(samples, np.int64).reshape(-1, 4)
    dues = np.concatenate([table[:, [0, 3]], np.array(lost, np.int64).reshape(-1, 2)])
    outcome = LoadOutcome(table, dues, Counters(**counters))  # type: ignore[arg-type]
    before, after = snapshot(101, 5, 0, MachineTime(50, 7)), snapshot(103, 6, 10, MachineTime(53, 7.5))
    return Measured(outcome, (1.0, 3.0), before, after)


GOOD = measured(
    [
        (0, 0, 1_500_000, 100),  # due before the window, final within it
        (1 * SECOND, 1_000_100, 1_200_000, 300),
        (2 * SECOND, 2_050_000, 2_400_000, 100),
        (2_999_999, 2_999_999, 3_100_000, 50),  # due within, final behind it
        (3 * SECOND, 3 * SECOND, 9 * SECOND, 7),  # behind it
    ]
)


def test_rates_are_of_the_window_and_latencies_of_what_was_due_in_it() -> None:
    told = result(GOOD)
    assert (told.offered_rate, told.final_rate) == (450 / 2, 500 / 2)
    assert told.latency_ms["p50"] == pytest.approx(200, rel=0.01)
    assert told.latency_ms["max"] == 400
    assert told.transfers["final"] == 557
    assert told.late_p99_ms == pytest.approx(50, rel=0.01)


def test_what_never_became_final_was_offered_all_the_same() -> None:
    final = [(SECOND, SECOND, 2 * SECOND, 100)]
    told = result(measured(final, [(SECOND - 1, 7), (SECOND, 300), (3 * SECOND, 7)], given_up=314))
    assert (told.offered_rate, told.final_rate) == (400 / 2, 100 / 2)
    assert told.transfers["offered"] == 414
    assert [row[:3] for row in told.timeline] == [(0, 7, 0), (1, 400, 0), (2, 0, 100), (3, 7, 0)]


def test_costs_are_shared_by_what_became_final_in_the_window() -> None:
    told = result(GOOD)
    assert told.cpu_us == {"v0": 2000, "all": 2000}
    assert told.threads_us == {"v0": {MAIN: (1000, 2000)}}
    assert (told.busy_cores, told.others_cores, told.stolen_cores) == (0.5, 1.0, 0.25)
    assert (told.commits_per_s, told.rounds_per_s, told.syncs_per_s) == (5, 10, {"v0": 15})
    assert (told.wire_bytes, told.disk_bytes, told.rss_mib) == (10, 2, {"v0": 2})


def test_the_timeline_has_every_second() -> None:
    told = result(GOOD)
    assert [row[:3] for row in told.timeline] == [
        (0, 100, 0),
        (1, 300, 400),
        (2, 150, 100),
        (3, 7, 50),
        *[(second, 0, 0) for second in range(4, 9)],
        (9, 0, 7),
    ]


def test_a_load_without_fault_has_no_failures_and_says_what_was_late() -> None:
    told = result(GOOD)
    assert told.failures == []
    assert any("other processes used 1.0 cores" in note for note in told.notes)
    assert any("other guests of its host took 0.2 cores" in note for note in told.notes)


@pytest.mark.parametrize(
    ("counters", "words"),
    [
        ({"failed": {"mempool_nonce": 2}}, "2 transfers were refused"),
        ({"statuses": {"expired": 1}}, "expired"),
    ],
)
def test_what_was_not_applied_is_a_failure(counters: dict[str, dict[str, int]], words: str) -> None:
    found = measured([(SECOND, SECOND, SECOND, 1)], **{name: Counter(of) for name, of in counters.items()})
    told = result(found)
    assert any(words in failure for failure in told.failures)
    answers = json.loads(json.dumps(told.as_dict()))["answers"]
    assert {name: answers[name] for name in counters} == counters


def test_what_is_unfinished_is_a_failure() -> None:
    found = measured([])
    found.outcome.unfinished = 3
    told = result(found)
    assert told.failures == ["3 transfers were not final when the drain ended"]
    assert (told.final_rate, told.latency_ms["p99"], told.timeline) == (0, 0, [])


def test_a_result_is_json_and_its_table_says_how_it_ended() -> None:
    told = result(GOOD)
    assert json.loads(json.dumps(told.as_dict()))["final_rate"] == 250
    text = "\n".join(lines(told, {"validators": 4}, {"cores": 2}))
    assert "steady state: seconds 1 to 3" in text and "FAILED" not in text and "nodes agree" in text
    bad = measured([])
    bad.failures.append("v1 and v0 differ in the fees")
    text = "\n".join(lines(result(bad), {}, {}))
    assert "FAILED: v1 and v0 differ" in text and "nodes agree" not in text


def test_outcomes_of_several_processes_add_up() -> None:
    whole = LoadOutcome()
    for part in (
        GOOD.outcome,
        LoadOutcome(dues=np.array([[0, 5]]), counters=Counters(overloaded=1), unfinished=2),
    ):
        whole.add(part)
    assert (whole.final, whole.offered, whole.unfinished, whole.counters.overloaded) == (557, 562, 2, 1)


def test_an_interrupted_load_does_not_wait_for_what_was_planned() -> None:
    done: list[str] = []
    events = [(0.0, lambda: done.append("now")), (20.0, lambda: done.append("late"))]
    with pytest.raises(KeyboardInterrupt):
        run(InterruptedLoad(done), Watch({}, {}), 0.0, lambda _: None, events)  # type: ignore[arg-type]
    assert done == ["now"]


class InterruptedLoad:
    """Ctrl-C comes once the plan has begun."""

    def __init__(self, done: list[str]) -> None:
        self.settings = LoadSettings(("http://127.0.0.1:1",), Path(), 40, 40.0, 1.0)
        self._done = done

    def begin(self) -> int:
        return time.monotonic_ns()

    def follow(self, _: object) -> LoadOutcome:
        while not self._done:
            time.sleep(0.001)
        raise KeyboardInterrupt


# Pictures


def steps() -> list[Step]:
    return [Step(1000, 1000, 10, 20, 9, True), Step(4000, 2500, 900, 4000, 9, False)]


def test_the_table_of_a_knee_marks_what_was_too_much() -> None:
    search = KneeSearch(1000, 4000, steps=steps())
    text = list(knee_lines(search.steps, search.best, 1000))
    assert "too much" in text[2] and "too much" not in text[1] and "knee: 1,000" in text[-1]
    assert "no rate" in list(knee_lines([], None, 1000))[-1]


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_plots_are_what_their_suffix_says(tmp_path: Path, suffix: str, magic: bytes) -> None:
    told: Result = result(GOOD)
    timeline, knee = tmp_path / f"timeline{suffix}", tmp_path / f"knee{suffix}"
    plot_timeline(told, "title", timeline)
    plot_knee(steps(), 1000, "title", knee)
    for path in (timeline, knee):
        check_plot(path)
        assert path.read_bytes().startswith(magic)


def test_a_plot_of_another_kind_is_refused_before_the_measurement() -> None:
    with pytest.raises(ConfigError, match="svg"):
        check_plot(Path("figure.jpg"))


# Processes


def test_this_process_has_figures_and_one_that_ended_has_none() -> None:
    found = process_figures(os.getpid())
    assert found is not None
    assert found.cpu_s > 0 and found.rss_max_bytes >= found.rss_bytes > 1 << 20
    assert found.threads[MAIN].run_s > 0
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert process_figures(child) is None


def test_numbered_threads_are_counted_together() -> None:
    stop, named = threading.Event(), threading.Barrier(3)

    def body(number: int) -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(f"worker{number}")
        named.wait()
        stop.wait()

    threads = [threading.Thread(target=body, args=(number,)) for number in (8, 9)]
    for thread in threads:
        thread.start()
    named.wait()
    found = process_figures(os.getpid())
    stop.set()
    for thread in threads:
        thread.join()
    assert found is not None and "worker" in found.threads and "worker8" not in found.threads


def test_the_machine_s_time_only_rises() -> None:
    before = machine_time()
    sum(range(10**6))
    spent = machine_time() - before
    assert before.busy_s > 0 and spent.busy_s >= 0 and spent.stolen_s >= 0


def test_the_machine_is_told_with_the_disk_and_the_commit(tmp_path: Path) -> None:
    told = machine(tmp_path, tmp_path)
    assert told["commit"] == commit_of(tmp_path) == "unknown"
    assert told["cores"] and told["file_system"] and "commit" not in machine()
