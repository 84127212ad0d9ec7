"""tools/docs.py writes what is not current, and with --check only says so."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from places import ROOT


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool over a folder with one page, a stale one."""
    setup = ModuleType("_setup")
    setup.bootstrap = lambda: None  # type: ignore[attr-defined]
    setup.ROOT = tmp_path  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "_setup", setup)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import docs
    from manual import pages

    monkeypatch.setattr(pages, "DOCS", tmp_path)
    monkeypatch.setattr(docs, "_setup", setup)
    (tmp_path / "page.md").write_text("<!-- made: exit-codes -->\nold\n<!-- /made -->\n")
    return docs


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["docs.py", *words])
    return int(tool.main())


def test_a_stale_page_is_named_then_written_then_current(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(tool, monkeypatch, "--check") == 1
    assert capsys.readouterr().out == "page.md: not current\n"
    assert "old" in (tmp_path / "page.md").read_text()
    assert run(tool, monkeypatch) == 0
    assert capsys.readouterr().out == "page.md: made anew\n"
    assert "| 0 | done |" in (tmp_path / "page.md").read_text()
    assert run(tool, monkeypatch, "--check") == 0
    assert capsys.readouterr().out == ""
