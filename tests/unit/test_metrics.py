"""The figures: their list, their names, and what histograms, stages and clocks count."""

import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cherrydag.execution.accounts import Status
from cherrydag.rpc.histogram import Histogram
from cherrydag.rpc.metric_families import Kind
from cherrydag.rpc.metrics import GROUPS
from cherrydag.rpc.stages import CLOCK_WINDOW_S, FOLLOWED_MAX, PeerClocks, Stages
from cherrydag.vertex import ValidatorVertex

ROOT = Path(__file__).parents[2]
sys.path[1:1] = [str(ROOT / "tools")]

import metric_list  # noqa: E402

FAMILIES = [family for group in GROUPS for family in group.families]
UNITS = ("seconds", "bytes")


def test_the_list_of_figures_is_current():
    assert (ROOT / "docs" / "metrics.md").read_text() == metric_list.document()


def test_no_figure_is_told_twice():
    names = [family.full_name for family in FAMILIES]
    assert len(set(names)) == len(names) > 120


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_prometheus_practice(family):
    assert re.fullmatch("[a-z][a-z0-9_]*[a-z0-9]", family.name)
    assert not re.search("_(ms|us|kb|mb|kib|mib|percent|total|count|sum|bucket|info_total)$", family.name)
    assert not any(unit in family.name.split("_")[:-1] for unit in ("milliseconds", "kilobytes"))
    assert family.text[0].isupper() or family.text[0] == "1"
    assert not family.text.endswith(".")
    if family.kind is Kind.HISTOGRAM:
        assert family.name.endswith(UNITS)


def test_a_bound_has_what_it_bounds():
    names = {family.name for family in FAMILIES}
    alone = {"rpc_limit", "admission_vertex_limit", "peers_others_limit", "mempool_transactions_limit"}
    for name in names - alone:
        if name.endswith("_limit"):
            assert name.removesuffix("_limit") in names


# Histograms


def test_a_value_counts_at_its_bound_and_not_below():
    found = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        found.observe(value)
    found.observe(1.0, count=10)
    assert found.buckets() == [("1.0", 12), ("2.0", 14), ("+Inf", 15)]
    assert found.total == 7.5 + 10


# Clocks


def test_the_soonest_vertex_of_an_author_tells_his_clock_and_the_median_author_tells_ours():
    clocks = PeerClocks()
    assert math.isnan(clocks.offset_s(0.0))
    for author, offsets in enumerate([(-0.5, -0.05, -3.0), (-0.06, -0.9), (50.0,)]):
        for offset in offsets:
            clocks.note(author, offset, 1.0)
    assert clocks.offset_s(1.0) == -0.05


def test_what_is_known_of_clocks_is_forgotten_after_a_window():
    clocks = PeerClocks()
    clocks.note(0, 0.3, 0.0)
    clocks.note(0, 0.1, CLOCK_WINDOW_S / 2)
    assert clocks.offset_s(CLOCK_WINDOW_S - 0.001) == 0.3
    assert clocks.offset_s(CLOCK_WINDOW_S) == 0.1
    assert math.isnan(clocks.offset_s(2 * CLOCK_WINDOW_S))
    for step in range(1000):
        clocks.note(step % 7, 0.0, 100.0 + step)
    assert len(clocks._parts) == 3


# Stages


class Rig:
    """Stages that look on at a host of which only what they use is there. It is validator 0."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.host = SimpleNamespace(watchers=[], node=SimpleNamespace(me=0))
        self.stages = Stages(self.host, lambda: self.now_s, lambda: 5000.0)
        self.made = 0

    def vertex(self, author: int, payload: int = 0, timestamp_ms: int = 5_000_000):
        self.made += 1
        vertex = ValidatorVertex.__new__(ValidatorVertex)
        facts = {
            "author": author,
            "digest": self.made.to_bytes(32, "big"),
            "payload": range(payload),
            "timestamp_ms": timestamp_ms,
        }
        for name, value in facts.items():
            object.__setattr__(vertex, name, value)
        return vertex

    def final(self, *vertices) -> None:
        statuses = [np.full(len(vertex.payload), Status.APPLIED, np.uint8) for vertex in vertices]
        sub_dag, result = SimpleNamespace(vertices=vertices), SimpleNamespace(statuses=statuses)
        self.stages.on_final(SimpleNamespace(sub_dag=sub_dag, result=result))


def test_finality_is_timed_from_our_vertex_to_its_commit():
    rig = Rig()
    ours, empty, other = rig.vertex(0, 5), rig.vertex(0), rig.vertex(1, 7)
    rig.stages.on_accepted([ours, empty, other])
    rig.now_s += 0.25
    rig.final(other, empty, ours)
    stages = rig.stages
    assert sum(stages.vertex_finality.counts) == 2 and stages.vertex_finality.total == 0.5
    assert sum(stages.transaction_finality.counts) == 5 and stages.transaction_finality.total == 1.25
    assert (stages.vertices_accepted, stages.transactions_accepted) == (3, 12)
    assert (stages.vertices_final, stages.transactions_applied, stages.transactions_failed) == (3, 12, 0)
    rig.final(ours)
    assert sum(stages.vertex_finality.counts) == 2


def test_the_time_between_commits_begins_with_the_second():
    rig = Rig()
    assert math.isnan(rig.stages.since_commit_s)
    rig.final()
    rig.now_s += 2.0
    assert rig.stages.since_commit_s == 2.0
    rig.final()
    assert rig.stages.commit_interval.total == 2.0 and rig.stages.since_commit_s == 0.0


def test_others_clocks_are_seen_and_ours_is_not():
    rig = Rig()
    rig.stages.on_accepted([rig.vertex(0, timestamp_ms=9_000_000), rig.vertex(2, timestamp_ms=5_000_300)])
    assert rig.stages.offset_s() == pytest.approx(0.3)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_so_many_vertices_are_timed_at_once_and_lost_ones_are_forgotten(more: int):
    rig = Rig()
    rig.stages.on_accepted([rig.vertex(0) for _ in range(FOLLOWED_MAX + more)])
    assert len(rig.stages._accepted) == min(FOLLOWED_MAX, FOLLOWED_MAX + more)
    rig.now_s += 60.0
    rig.final()
    assert rig.stages._accepted
    rig.now_s += 0.1
    rig.final()
    assert not rig.stages._accepted


def test_it_looks_on_from_start_to_stop():
    rig = Rig()
    rig.stages.start()
    assert rig.host.watchers == [rig.stages]
    rig.stages.stop()
    rig.stages.stop()
    assert rig.host.watchers == []
