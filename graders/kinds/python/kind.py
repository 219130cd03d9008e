"""python: the author's own `grade(sample, item)`, run out of reach."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader, Grading, PythonRunner, Sample
from graders.kinds.spec import Kind, SpecReader

SOURCE_BYTES = 256_000
_WANTED = "Define `def grade(sample, item):` at the top level; it returns a number."


@dataclass(frozen=True)
class PythonGrader:
    """Hands source, sample and item to the runner."""

    source: str
    runner: PythonRunner

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        return self.runner.run(self.source, sample.as_dict(), item)

    def variables(self) -> frozenset[str]:
        return frozenset()


def check_source(source: str) -> str | None:
    """What keeps `source` from being a grader, or None."""
    try:
        size = len(source.encode())
    except UnicodeEncodeError as error:
        return f"The source holds a lone surrogate at character {error.start}. Remove it."
    if size >= SOURCE_BYTES:
        return f"The source has {size} bytes; it has to be shorter than {SOURCE_BYTES}."
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return f"Line {error.lineno}: {error.msg}. Mend the source."
    except ValueError as error:
        return f"The source cannot be read: {error}."
    except (RecursionError, MemoryError):
        return "The source is nested too deeply to be read. Make it flatter."
    return _check_signature(tree)


def _check_signature(tree: ast.Module) -> str | None:
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "grade"
    ]
    if not functions:
        return f"There is no function `grade`. {_WANTED}"
    function = functions[-1]
    if isinstance(function, ast.AsyncFunctionDef):
        return f"Line {function.lineno}: `grade` is asynchronous. {_WANTED}"
    arguments = function.args
    count = len(arguments.posonlyargs) + len(arguments.args)
    if count != 2 or arguments.vararg or arguments.kwonlyargs or arguments.kwarg:
        return f"Line {function.lineno}: `grade` does not take exactly two arguments. {_WANTED}"
    return None


def build(spec: SpecReader) -> Grader:
    """A grader for a python spec."""
    source = spec.text("source")
    problem = check_source(source)
    if problem is not None:
        raise spec.refuse("source", problem)
    if spec.has("image_tag"):
        spec.text("image_tag")
    return PythonGrader(source, spec.hooks.python)


KIND = Kind(
    type="python",
    title="Python",
    required=frozenset({"source"}),
    optional=frozenset({"image_tag"}),
    build=build,
)
