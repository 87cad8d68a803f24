"""The run-time type checker of the tests: shapes, and int where float is asked for."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from beartype import BeartypeConf, beartype

F = TypeVar("F", bound=Callable[..., object])

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: F) -> F:
    """Constructors are left out: they refuse a wrong type themselves, and that is what tests look at."""
    if function.__name__ == "__init__":
        return function
    _import_for_types(function.__module__)
    return _checked(function)


@cache
def _import_for_types(name: str) -> None:
    """Import what a module imports for type checkers alone: beartype has to look its names up."""
    module = sys.modules[name]
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), name, "exec"), vars(module))
