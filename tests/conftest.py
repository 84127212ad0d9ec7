"""What more than one folder of tests needs."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from cherrydag import crypto

# A busy machine or a sanitizer build is slow, not wrong.
settings.register_profile("cherrydag", deadline=None)
settings.load_profile("cherrydag")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(params=crypto.backends())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set that this machine has, in force for the test."""
    before = crypto.backend()
    crypto.use_backend(request.param)
    yield request.param
    crypto.use_backend(before)
