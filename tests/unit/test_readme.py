"""The README's Python runs as it is printed."""

import asyncio
import re
import textwrap
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_examples_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    embedding, awaiting = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(embedding, names)
    assert capsys.readouterr().out == "5 Place(commit_index=1, position=0) 1\n"
    exec("async def run():\n" + textwrap.indent(awaiting, "    ") + "    return submission", names)
    submission = asyncio.run(names["run"]())  # type: ignore[operator]
    assert submission.statuses.tolist() == [1] * 50
