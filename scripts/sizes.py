"""Fails on a module over 400 lines or a class over 15 methods: two that have not met yet."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 400
CLASS_METHODS = 15
FOLDERS = ("bot", "worker", "tests", "scripts")


def too_large(path: Path) -> Iterator[str]:
    """One line for each thing in the module that is over its limit."""
    text = path.read_text(encoding="utf-8")
    if (lines := len(text.splitlines())) > MODULE_LINES:
        yield f"{path}: {lines} lines, at most {MODULE_LINES}"
    for node in ast.walk(ast.parse(text, str(path))):
        if not isinstance(node, ast.ClassDef):
            continue
        methods = [m for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)]
        if len(methods) > CLASS_METHODS:
            yield (
                f"{path}:{node.lineno}: class {node.name} has {len(methods)} methods, "
                f"at most {CLASS_METHODS}"
            )


def main() -> int:
    """Prints what is too large; 1 when something is."""
    root = Path(__file__).resolve().parent.parent
    modules = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")))
    found = [line for path in modules for line in too_large(path)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
