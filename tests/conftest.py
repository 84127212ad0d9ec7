"""What more than one folder of tests needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cherrydag import crypto

ROOT = Path(__file__).resolve().parent.parent
SHARED_VECTORS = ROOT.parent / "shared" / "vectors"

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


def shared_vectors(name: str) -> Path:
    """A file of test vectors kept beside the repository; skips the test where there is none."""
    path = SHARED_VECTORS / name
    if not path.exists():
        pytest.skip(f"no vectors at {path}")
    return path
