"""Each case and its baseline as a group of two; tools/bench.py gives the ratios that we quote."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from all_cases import CASES, Prepared


@pytest.mark.parametrize("prepared", CASES, indirect=True)
@pytest.mark.parametrize("side", ["ours", "baseline"])
def test_case(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, prepared: Prepared, side: str
) -> None:
    benchmark.group = request.node.callspec.params["prepared"]
    if side == "ours":
        benchmark.extra_info["items"] = prepared.items
        benchmark.pedantic(prepared.run, setup=prepared.reset, rounds=10)
    else:
        benchmark.extra_info["items"] = prepared.baseline_items
        benchmark.pedantic(prepared.baseline_run, rounds=10)
