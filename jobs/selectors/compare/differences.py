"""Where the specs of jobs differ, and whether their rewards are one measure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.models import Job

TOLD_ELSEWHERE = frozenset({"requested", "settings", "budgets", "engine"})
"""Parts of a spec whose values stand among the settings; `engine` adds what is below."""
ENGINE_ALONE = ("deterministic", "shuffle_rewards")
HASH_SHOWN = 12
ABSENT = ""


@dataclass(frozen=True)
class Difference:
    """One field whose value is not the same in all; `values` in the order of the jobs."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Differences:
    """The fields that differ, of how many."""

    rows: tuple[Difference, ...]
    fields: int


def differences(jobs: Sequence[Job]) -> Differences:
    """Every field of the jobs' specs that is not equal in all of them, by name."""
    flat = [flattened(job) for job in jobs]
    fields = sorted({field for each in flat for field in each})
    rows = [Difference(field, tuple(each.get(field, ABSENT) for each in flat)) for field in fields]
    return Differences(tuple(row for row in rows if len(set(row.values)) > 1), len(fields))


def flattened(job: Job) -> dict[str, str]:
    """The spec as one text a field; versions end with the beginning of their hash."""
    spec: dict[str, Any] = job.spec
    found = {"base_model": job.base_model.name, "seed": str(job.seed)}
    for setting in spec.get("settings") or []:
        found[str(setting["name"])] = _text(setting["value"])
    for name in ENGINE_ALONE:
        if name in (spec.get("engine") or {}):
            found[name] = _text(spec["engine"][name])
    for name, value in spec.items():
        if name == "tools":
            found |= _tools(value or [])
        elif name not in TOLD_ELSEWHERE and name != "base_model":
            found |= dict(_fields(name, value))
    return found


def same_measure(first: Job, second: Job) -> str:
    """Why the validation rewards of two jobs are not one measure; empty where they are."""
    if _hash(first, "validation") != _hash(second, "validation"):
        return "their validation tasks are not of the same file"
    if _hash(first, "grader") != _hash(second, "grader"):
        return "their grader is not the same version"
    return ""


def _hash(job: Job, part: str) -> str:
    return str((job.spec.get(part) or {}).get("sha256", ""))


def _tools(tools: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {
        f"tools.{tool.get('name')}.{name}": _text(value)
        for tool in tools
        for name, value in tool.items()
        if name != "name"
    }


def _fields(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, _text(value)
    elif "sha256" in value:
        rows = f", {value['rows']} rows" if "rows" in value else ""
        yield path, f"{value.get('name', '')}{rows} ({str(value['sha256'])[:HASH_SHOWN]})"
    elif not value:
        yield path, ABSENT
    else:
        for name, inner in value.items():
            yield from _fields(f"{path}.{name}", inner)


def _text(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
