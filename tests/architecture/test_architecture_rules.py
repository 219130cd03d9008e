"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("platform", "jobs", "graders", "benchmarks")
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
SHELVES = {"utils", "util", "helpers", "common", "misc"}


def _python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in _python_files(*SOURCES)
        if (lines := path.read_text().count("\n")) > LONGEST_FILE
    }
    assert long == {}


def test_no_function_is_longer_than_60_lines() -> None:
    long = {}
    for path in _python_files(*SOURCES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_no_module_is_a_shelf() -> None:
    assert [path for path in _python_files(*SOURCES) if path.stem in SHELVES] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in _python_files(*SOURCES)
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (r"\bTODO\b|\bFIXME\b|\bXXX\b", "open an issue and say its number"),
        (r"@receiver\b|django\.\S*signals", "call the service"),
        (r"\bimport pickle\b|torch\.load\(|torch\.save\(|\bjoblib\b", "use safetensors"),
        (r"\|\s*safe\b|mark_safe\(", "let the template escape it"),
        (r"\byaml\.load\(", "use yaml.safe_load"),
    ],
)
def test_what_is_forbidden_is_absent(pattern: str, instead: str) -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for path in _python_files(*SOURCES)
        if re.search(pattern, path.read_text())
    ]
    assert found == [], f"{pattern} is not used here: {instead}"


def test_templates_never_switch_escaping_off() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "templates").rglob("*.*")
        if re.search(
            r"\|\s*safe\b|autoescape (?:off|false)|\bstyle=\"|\bon[a-z]+=\"", path.read_text()
        )
    ]
    assert found == []


def test_migrations_have_names() -> None:
    unnamed = [
        path.name
        for folder in SOURCES
        for path in (ROOT / folder).glob("**/migrations/0*.py")
        if "_auto_" in path.name or re.fullmatch(r"\d{4}_initial_\d+\.py", path.name)
    ]
    assert unnamed == []


def test_the_web_process_never_imports_torch() -> None:
    code = (
        "import hone.wsgi, sys; from django.urls import get_resolver; get_resolver().url_patterns;"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["graders.kinds.registry", "jobs.engine.rollout.runner"])
def test_graders_and_rollouts_load_without_torch_and_django(module: str) -> None:
    code = (
        f"import {module}, sys; print(sorted({{'torch', 'django', 'celery'}} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"
