"""Pieces of Markdown."""

import ast
import inspect
from collections.abc import Iterable, Sequence
from itertools import pairwise
from types import ModuleType


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; bars within cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def code(value: object) -> str:
    """As code; nothing for nothing."""
    return f"`{value}`" if str(value) else ""


def paragraphs(text: str) -> str:
    """A docstring as text: its lines joined, its paragraphs kept."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def texts_below(source: ModuleType | type) -> dict[str, str]:
    """The words that stand below names of a module or a class, as this package documents its values."""
    tree = ast.parse(inspect.getsource(source)).body
    body = tree[0].body if isinstance(source, type) and isinstance(tree[0], ast.ClassDef) else tree
    found = {}
    for node, following in pairwise(body):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        constant = following.value if isinstance(following, ast.Expr) else None
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and isinstance(constant, ast.Constant):
            found[targets[0].id] = paragraphs(str(constant.value))
    return found


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
