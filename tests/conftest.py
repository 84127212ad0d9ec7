"""What more than one folder of tests needs."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from cherrydag import crypto

# A busy machine or a sanitizer build is slow, not wrong.
settings.register_profile("cherrydag", deadline=None)
settings.load_profile("cherrydag")


@pytest.fixture(params=crypto.backends())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set that this machine has, in force for the test."""
    before = crypto.backend()
    crypto.use_backend(request.param)
    yield request.param
    crypto.use_backend(before)
