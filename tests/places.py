"""Where the checkout and the test vectors beside it are."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_VECTORS = ROOT.parent / "shared" / "vectors"


def shared_vectors(name: str) -> Path:
    """A file of test vectors kept beside the repository; skips the test where there is none."""
    path = SHARED_VECTORS / name
    if not path.exists():
        pytest.skip(f"no vectors at {path}")
    return path
