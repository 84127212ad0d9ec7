"""`cherrydag top`: what is computed from two looks, and that it fits a terminal."""

import bisect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.cli.dashboard import bars, lines
from cherrydag.cli.node_figures import HISTORY, WINDOW, Sample, Series, as_document, quantile
from cherrydag.errors import PeerFault


def text(commit: int = 7, validators: int = 3, start: int = 1, **more: float) -> str:
    """Figures as a node tells them."""
    told = [f"cherrydag_commit_index {commit}", f"process_start_time_seconds {start}"]
    told += ['cherrydag_build_info{version="9.9\x1b[31m"} 1.0', 'cherrydag_not_ready{reason="behind"} 1.0']
    told += [
        f'cherrydag_peer_linked{{validator="validator-{one:03}"}} {float(one % 2)}'
        for one in range(validators)
    ]
    told += [f"cherrydag_{name} {value}" for name, value in more.items()]
    return "\n".join([*told, ""])


def series(*looks: str, step_s: float = 1.0) -> Series:
    made = Series()
    for number, look in enumerate(looks):
        made.add(Sample(look, number * step_s))
    return made


def test_rates_are_of_the_last_two_looks():
    rates = series(*[text(round=at, commits_total=2 * at) for at in (0, 10, 30)], step_s=2.0).rates()
    assert (rates.rounds, rates.commits) == (10.0, 20.0)
    assert series(text(round=5)).rates().rounds == 0


def test_a_node_that_has_begun_anew_has_no_negative_rates():
    again = series(text(commits_total=900), text(start=2, commits_total=1))
    assert again.rates().commits == 0
    assert series(text(start=2, commits_total=1), text(start=2)).rates().commits == 0
    assert series(text(commits_total=10), text(start=2, commits_total=30)).rates().commits == 0


def test_so_many_looks_are_kept():
    many = series(*[text(round=at) for at in range(HISTORY + WINDOW + 5)])
    assert len(many.history) == HISTORY and len(many._samples) == WINDOW + 1


@pytest.mark.parametrize("told", ["", "{", "up 1\n", "cherrydag_commit_index x\n", "<html></html>"])
def test_what_is_no_node_is_told(told: str):
    with pytest.raises(PeerFault):
        Sample(told, 0.0)


BOUNDS = (0.1, 0.5, 1.0, 5.0)


def buckets(values: list[float]) -> list[tuple[float, float]]:
    values = sorted(values)
    return [(bound, float(bisect.bisect_right(values, bound))) for bound in (*BOUNDS, math.inf)]


@given(
    st.lists(st.floats(0.001, 10)),
    st.lists(st.floats(0.001, 10), min_size=1),
    st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]),
)
def test_a_quantile_lies_in_the_bucket_of_the_value_that_it_is_of(before, values, part):
    found = quantile(buckets(before), buckets(before + values), part)
    values.sort()
    wanted = values[max(0, math.ceil(part * len(values)) - 1)]
    at = bisect.bisect_left(BOUNDS, wanted)
    low = BOUNDS[at - 1] if at else 0.0
    high = BOUNDS[at] if at < len(BOUNDS) else BOUNDS[-1]
    assert low <= found <= high or math.isclose(found, high)


def test_a_quantile_lies_in_its_bucket_in_proportion():
    before, now = buckets([]), buckets([0.05] * 2 + [0.3] * 4 + [9.0] * 2)
    assert quantile(before, now, 0.5) == pytest.approx(0.1 + 0.4 * 2 / 4)
    assert quantile(before, now, 0.125) == pytest.approx(0.05)
    assert quantile(before, now, 0.99) == 5.0


def test_of_nothing_there_is_no_quantile():
    assert math.isnan(quantile(buckets([1.0]), buckets([1.0]), 0.5))
    assert math.isnan(quantile([], [], 0.5))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 3)])
@pytest.mark.parametrize("validators", [0, 3, 200])
def test_it_fits_the_terminal(width: int, height: int, validators: int):
    huge = {"round": 2**31, "commits_total": 2**40, "store_used_bytes": 2**50, "mempool_waiting": 2**20}
    shown = lines(
        series(text(), text(validators=validators, **huge)), "http://" + "x" * 50, width, height, "no answer"
    )
    rows = shown.plain.split("\n")
    assert len(rows) <= height and all(len(row) <= width for row in rows)
    assert shown.plain.isprintable() or set(shown.plain) - set(shown.plain.replace("\n", "")) == {"\n"}
    assert "\x1b" not in shown.plain


def test_validators_without_a_link_come_first_and_the_rest_is_counted():
    shown = lines(series(text(validators=100)), "http://x", 80, 24).plain
    assert shown.count("no link") >= 3 and "round trip" not in shown
    assert "more validators" in shown and "not ready: behind" in shown


def test_bars_are_of_the_last_values():
    assert bars([], 10) == ""
    assert bars([0.0], 10) == "▁  0 at most"
    assert bars([9.0, 0.0, 50.0, 100.0], 3) == "▁▅█  100 at most"


def test_as_json_what_is_not_known_is_null():
    told = as_document(series(text(clock_offset_seconds=math.nan), text(clock_offset_seconds=math.nan)))
    assert told["clock_offset_s"] is None and told["finality_s"] == {"p50": None, "p99": None}
    assert told["commit"] == 7 and told["reasons"] == ["behind"] and not told["is_ready"]
    assert told["validators"] == {"validator-000": False, "validator-001": True, "validator-002": False}
