"""The text of `/metrics`, beside what Prometheus' own library writes and reads."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from cherrydag.rpc import exposition
from cherrydag.rpc.histogram import Histogram
from cherrydag.rpc.metric_families import Family, Kind, counter, counters, gauge, gauges, histogram

VALUES = st.floats() | st.integers(-(2**70), 2**70) | st.booleans()
TEXTS = st.text(max_size=12)


def read(text: str) -> list[tuple[str, str, str, list[tuple[str, dict[str, str], str]]]]:
    """Families with their samples; NaN as a word, since it equals nothing."""
    return [
        (
            family.name,
            family.type,
            family.documentation,
            [(one.name, one.labels, repr(one.value)) for one in family.samples],
        )
        for family in text_string_to_metric_families(text)
    ]


def written_by_the_library(family: Family, value: object) -> str:
    name = f"cherrydag_{family.name}"
    if family.kind is Kind.HISTOGRAM:
        assert isinstance(value, Histogram)
        made = HistogramMetricFamily(name, family.text, buckets=value.buckets(), sum_value=value.total)
    else:
        form = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
        if family.labels:
            assert isinstance(value, dict)
            made = form(name, family.text, labels=family.labels)
            for key, number in value.items():
                made.add_metric([key] if isinstance(key, str) else list(key), number)
        else:
            made = form(name, family.text, value=float(value))  # type: ignore[arg-type]

    class One(Collector):
        def collect(self) -> list[object]:  # type: ignore[override]
            return [made]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(One())
    return generate_latest(registry).decode()


def check(family: Family, value: object) -> None:
    ours = "".join(family.lines(value))
    assert read(ours) == read(written_by_the_library(family, value))
    assert ours.endswith("\n")


@given(VALUES)
def test_numbers(value: float) -> None:
    check(gauge("level", "Some level", lambda part: part), value)
    check(counter("events", "Some events", lambda part: part), value)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_one_label_of_any_text(values: dict[str, float]) -> None:
    check(gauges("level", "place", "Some level", lambda part: part), values)


@given(st.dictionaries(st.tuples(TEXTS, TEXTS), VALUES, max_size=5))
def test_two_labels_of_any_text(values: dict[tuple[str, str], float]) -> None:
    check(counters("events", ("place", "kind"), "Some events", lambda part: part), values)


@given(st.lists(st.floats(0, 100), max_size=20))
def test_histograms(values: list[float]) -> None:
    found = Histogram((0.5, 1.0, 25.0))
    for value in values:
        found.observe(value)
    check(histogram("span_seconds", "Some span", lambda part: part), found)


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (3, "3.0"), (True, "1.0")]
)
def test_what_is_no_common_number(value: float, text: str) -> None:
    assert exposition.sample("a", value) == f"a {text}\n"
