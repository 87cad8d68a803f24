"""A checksum of the code that training runs, part of every trial's name."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@cache
def imported_modules(*names: str) -> dict[str, Path]:
    """This project's modules reachable by import from ``names``, with their files."""
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = None if name in found else _module_file(name)
        if path is not None:
            found[name] = path
            waiting += _imports_in(path)
    return found


# Each file is parsed once: the trials of a sweep are named by nearly the same files, which take a tenth of a second.
@cache
def _imports_in(path: Path) -> list[str]:
    return imports_of(ast.parse(path.read_bytes()))


def _module_file(name: str) -> Path | None:
    if not name.startswith("src."):
        return None
    base = ROOT.joinpath(*name.split("."))
    return base.with_suffix(".py") if base.with_suffix(".py").exists() else None


def imports_of(tree: ast.Module) -> list[str]:
    """Every module that a file imports, and every name from one; those for type checkers alone left out."""
    names: list[str] = []
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # what is imported from a package may itself be a module
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _executed(child)


def imported_libraries(*names: str) -> set[str]:
    """The top-level names of other packages that ``imported_modules`` import."""
    imported = {name for path in imported_modules(*names).values() for name in _imports_in(path)}
    return {name.partition(".")[0] for name in imported} - {"src", "__future__"}


CHECKS = "src.runtime.check"


@cache
def source_checksum(*names: str) -> str:
    """BLAKE2b over the statements of ``imported_modules``: comments, docstrings and layout don't change it.

    Nor does the module of checks, which accepts a value or refuses it and changes none.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, path in sorted(imported_modules(*names).items()):
        if name == CHECKS:
            continue
        digest.update(f"{name}\n{_statements(path)}\n".encode())
    return digest.hexdigest()


@cache
def _statements(path: Path) -> str:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            del body[0]
    return ast.unparse(tree)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
