"""The README's Python runs as it is printed."""

import asyncio
import re
import textwrap
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_examples_run_in_their_order() -> None:
    embedding, awaiting = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(embedding, names)
    exec("async def run():\n" + textwrap.indent(awaiting, "    ") + "    return verdicts", names)
    assert asyncio.run(names["run"]()) == b"\1\1\1"
