"""The explorer that ships: its built files belong to its sources, and keep to what was promised."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from explorer_vectors import VECTORS, golden

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "explorer"
STATIC = ROOT / "engine" / "cherrydag" / "explorer" / "static"
NAMES = (
    "index.html",
    "package.json",
    "package-lock.json",
    "scripts",
    "src",
    "tsconfig.json",
    "vite.config.ts",
)
PAGE_BYTES_MAX = 500_000


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())


def hashes_of(base: Path, names: tuple[str, ...]) -> dict[str, str]:
    files = [file for name in names for file in files_of(base / name)]
    found = {
        file.relative_to(base).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
    return dict(sorted(found.items()))


@pytest.fixture
def manifest() -> dict[str, object]:
    made: dict[str, object] = json.loads((STATIC / "build.json").read_text())
    return made


def test_the_build_belongs_to_the_sources(manifest: dict[str, object]) -> None:
    spelt = "".join(f"{name}\0{digest}\n" for name, digest in hashes_of(SOURCES, NAMES).items())
    assert manifest["sources"] == hashlib.sha256(spelt.encode()).hexdigest(), (
        "build anew: npm run build in explorer/"
    )


def test_the_files_are_those_of_the_build(manifest: dict[str, object]) -> None:
    found = hashes_of(STATIC, (".",))
    del found["build.json"]
    assert found == manifest["files"]


def test_the_page_is_light_and_whole() -> None:
    assert sum(file.stat().st_size for file in files_of(STATIC)) <= PAGE_BYTES_MAX
    index = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]+)"', index)
    assert len(named) == 3
    for path in named:
        assert (STATIC / path.removeprefix("/explorer/")).is_file(), path
    assert "<style" not in index
    assert "style=" not in index
    assert not re.search(r"<script(?![^>]*\bsrc=)", index)


def test_nothing_is_asked_of_another_host() -> None:
    namespaces = {
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/1998/Math/MathML",
    }
    for file in (one for one in files_of(STATIC) if one.suffix != ".md"):  # notices are not loaded
        assert set(re.findall(r"https?://[\w./-]+", file.read_text())) <= namespaces, file


def test_the_lock_names_no_registry() -> None:
    assert "resolved" not in (SOURCES / "package-lock.json").read_text()


def test_vectors_are_what_the_node_would_answer() -> None:
    assert golden() == json.loads(VECTORS.read_text())
