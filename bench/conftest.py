"""Benches under pytest-benchmark: `pytest bench/`."""

import pytest

from all_cases import CASES, Prepared


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest) -> Prepared:
    """The inputs of the case that the test is parametrized with."""
    name: str = request.param
    return CASES[name].prepare()
