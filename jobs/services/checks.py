"""The live checks of a job request: everything together, before anything is written."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import ceil, floor
from pathlib import Path
from typing import Any

from graders.kinds.base import Grader, GraderSpecError
from graders.kinds.check import missing_in, reading
from graders.kinds.registry import load_grader
from graders.models import GraderVersion
from hone.accounts.models import Organisation
from hone.core.errors import UserError
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import dataset_split
from hone.tools.models import ToolVersion
from jobs.models import BaseModel, BaseModelStatus
from jobs.selectors import inputs
from jobs.services import here
from jobs.services.hyperparameters import (
    Facts,
    Setting,
    hyperparameter_warnings,
    resolve_hyperparameters,
    value_of,
)
from jobs.services.length import Prompt, length_checks, row_prompt
from jobs.services.memory import memory_check
from jobs.services.request import Check, Checked, JobRequest

LEAST_ROWS = 10
SEED_MAX = 2**31 - 1
METADATA_MOST, METADATA_KEY, METADATA_VALUE = 16, 64, 512


@dataclass
class Inputs:
    """The rows that a request names; None where there is no such row in the organisation."""

    base_model: BaseModel | None
    train: DatasetVersion | None
    validation: DatasetVersion | None
    tools: list[ToolVersion]
    grader: GraderVersion | None
    train_rows: tuple[int, ...] | None = None
    validation_rows: tuple[int, ...] | None = None


@dataclass
class _Seen:
    """What one pass over a file's rows found."""

    rows: int = 0
    tasks: dict[bytes, int] = field(default_factory=dict)
    longest: dict[bool, Prompt] = field(default_factory=dict)
    """The longest prompt of rows with tools of their own, and of those without."""
    bad_last: list[int] = field(default_factory=list)
    unknown_tools: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)


def request_inputs(organisation: Organisation, request: JobRequest) -> tuple[Inputs, list[Check]]:
    """The rows behind a request's ids, and a problem for each that is missing."""
    checks: list[Check] = []

    def found(value: Any, topic: str, name: str) -> Any:
        if value is None:
            sent = getattr(request, name)
            why = ": there is none with the id that was sent." if sent else "."
            sentence = f"Choose a {topic.lower()}{why}"
            checks.append(Check(topic, "problem", sentence, name, f"{name}_unknown"))
        return value

    model = BaseModel.objects.filter(enabled=True, pk=request.base_model or 0).first()
    train = request.train_version and inputs.dataset_version(organisation, request.train_version)
    grader = request.grader_version and inputs.grader_version(organisation, request.grader_version)
    tools = [
        found(inputs.tool_version(organisation, version), "Tool", "tool_versions")
        for version in request.tool_versions
    ]
    chosen = Inputs(
        base_model=found(model, "Base model", "base_model"),
        train=found(train or None, "Dataset", "train_version"),
        validation=train or None,
        tools=[tool for tool in tools if tool is not None],
        grader=found(grader or None, "Grader", "grader_version"),
    )
    if request.validation_version:
        validation = inputs.dataset_version(organisation, request.validation_version)
        chosen.validation = found(validation, "Validation dataset", "validation_version")
    elif chosen.train is not None:
        share = request.validation_share if 0 < request.validation_share < 1 else 0.1
        split = dataset_split(chosen.train, share, request.seed)
        chosen.train_rows, chosen.validation_rows = split
    return chosen, checks


def job_checks(organisation: Organisation, request: JobRequest) -> Checked:
    """All checks of a request, in the order in which they are shown."""
    chosen, checks = request_inputs(organisation, request)
    settings, problems = _settings(chosen, request)
    if chosen.base_model is not None:
        checks += [_model_check(chosen.base_model), *here.template_checks(chosen.base_model)]
    grader, grader_check = _grader(chosen.grader)
    seen = _data_checks(chosen, grader, checks)
    checks += here.tool_checks(chosen.tools)
    checks += [grader_check] if grader_check else []
    checks += here.isolation_checks(chosen.grader.spec) if chosen.grader and grader else []
    checks += _variable_checks(seen, grader)
    checks += _sample_checks(grader, request)
    if chosen.base_model is not None and (prompts := [p for s in seen for p in s.longest.values()]):
        schemas = [inputs.tool_schema(tool) for tool in chosen.tools]
        checks += length_checks(chosen.base_model, prompts, schemas, settings)
    checks += memory_check(chosen.base_model, settings)
    checks += [Check("Training", "problem", text, name, "invalid") for name, text in problems]
    checks += [
        Check("Training", "warning", text, name, "no_effect")
        for name, text in hyperparameter_warnings(settings)
    ]
    checks += _request_checks(request)
    if not problems and chosen.train is not None:
        checks.append(Check("Training", "ok", f"Steps: {value_of(settings, 'steps')}."))
    return Checked(checks, settings)


def _settings(chosen: Inputs, request: JobRequest) -> tuple[list[Setting], list[tuple[str, str]]]:
    model = chosen.base_model
    facts = Facts(
        train_rows=_count(chosen.train, chosen.train_rows),
        validation_rows=_count(chosen.validation, chosen.validation_rows),
        parameters=model.parameters if model else None,
        context_length=model.context_length if model else None,
    )
    return resolve_hyperparameters(request.hyperparameters, facts)


def _count(version: DatasetVersion | None, rows: tuple[int, ...] | None) -> int:
    if rows is not None:
        return len(rows)
    return version.rows if version is not None else 0


def _model_check(model: BaseModel) -> Check:
    if model.status == BaseModelStatus.DOWNLOADING:
        sentence = f"{model.name} is being downloaded. {model.message}".strip()
        return Check("Base model", "problem", sentence, "base_model", "model_downloading")
    if model.status == BaseModelStatus.FAILED:
        sentence = f"{model.name} cannot be used: {model.message}"
        return Check("Base model", "problem", sentence, "base_model", "model_failed")
    if not Path(model.folder).is_dir():
        sentence = f"{model.name} is not at {model.folder} any more. The operator adds it again."
        return Check("Base model", "problem", sentence, "base_model", "model_gone")
    size = f"{(model.parameters or 0) / 1e6:.3g} M parameters"
    context = f", context {model.context_length}" if model.context_length else ""
    return Check("Base model", "ok", f"{model.name}: {size}{context}.")


def _grader(version: GraderVersion | None) -> tuple[Grader | None, Check | None]:
    if version is None:
        return None, None
    try:
        grader = load_grader(version.spec)
    except GraderSpecError as error:
        sentence = f"{version} cannot work: {error}"
        return None, Check("Grader", "problem", sentence, "grader_version", "grader_invalid")
    return grader, Check("Grader", "ok", f"{version} is valid.")


def _data_checks(chosen: Inputs, grader: Grader | None, checks: list[Check]) -> list[_Seen]:
    """Read each file once; add what is said about the files and about both together."""
    variables = grader.variables() if grader is not None else frozenset()
    names = frozenset(inputs.tool_name(tool) for tool in chosen.tools)
    parts = (
        ("Tasks", "train_version", chosen.train, chosen.train_rows),
        ("Validation", "validation_version", chosen.validation, chosen.validation_rows),
    )
    found: list[_Seen] = []
    for topic, name, version, rows in parts:
        if version is None:
            continue
        try:
            # Raises where the file is gone, even if it was read before.
            inputs.dataset_path(version)
            seen = _scanned(_Scan(version.sha256, rows, names, variables, version))
        except (OSError, ValueError, UserError) as error:
            sentence = f"The file of {inputs.dataset_name(version)} cannot be read: {error}"
            checks.append(Check(topic, "problem", sentence, name, "dataset_unreadable"))
            continue
        found.append(seen)
        title = inputs.dataset_name(version)
        whole = None if rows is None else version.rows
        checks += _file_checks(seen, topic, name, title, whole)
        checks += _tool_checks(seen, names)
    if len(found) == 2:
        checks.append(_overlap_check(*found))
    return found


@dataclass(frozen=True)
class _Scan:
    """All that decides what one pass over a file finds; the row of the version does not."""

    sha256: str
    rows: tuple[int, ...] | None
    names: frozenset[str]
    variables: frozenset[str]
    version: DatasetVersion = field(compare=False)


@functools.lru_cache(maxsize=4)
def _scanned(scan: _Scan) -> _Seen:
    """Remembered, since a form is checked again after each change of it."""
    items = _picked(inputs.dataset_items(scan.version), scan.rows)
    return _look(items, scan.names, scan.variables)


def _picked(
    items: Iterator[dict[str, Any]], rows: tuple[int, ...] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    wanted = None if rows is None else set(rows)
    for number, item in enumerate(items):
        if wanted is None or number in wanted:
            yield number + 1, item


def _look(
    items: Iterable[tuple[int, dict[str, Any]]], names: frozenset[str], variables: frozenset[str]
) -> _Seen:
    seen = _Seen()
    for line, item in items:
        seen.rows += 1
        seen.keys |= item.keys()
        # The whole row: the same question about another `item` is another task.
        whole = json.dumps(item, sort_keys=True)
        seen.tasks[hashlib.sha256(whole.encode()).digest()[:16]] = line
        prompt = row_prompt(item)
        longest = seen.longest.setdefault(bool(prompt.tools), prompt)
        if prompt.size > longest.size:
            seen.longest[bool(prompt.tools)] = prompt
        if not item.get("messages") or item["messages"][-1].get("role") != "user":
            seen.bad_last.append(line)
        for tool in prompt.tools:
            name = str((tool.get("function") or {}).get("name", ""))
            if name not in names:
                seen.unknown_tools.setdefault(name, line)
        for variable in missing_in(variables, item):
            seen.missing[variable] = seen.missing.get(variable, 0) + 1
    return seen


def _file_checks(
    seen: _Seen, topic: str, name: str, title: str, whole: int | None
) -> Iterator[Check]:
    """`whole`: the rows of the file that was split; None where the file is used as it is."""
    if seen.rows < LEAST_ROWS:
        rows = "1 row" if seen.rows == 1 else f"{seen.rows} rows"
        sentence = f"{title} gives {rows} here; at least {LEAST_ROWS} are needed. "
        yield Check(topic, "problem", sentence + _way_to_rows(whole), name, "too_few_rows")
    else:
        yield Check(topic, "ok", f"{title}: {seen.rows} rows, all readable.")
    if seen.bad_last:
        sentence = f"Row {seen.bad_last[0]} does not end with a `user` message."
        yield Check(topic, "problem", sentence, name, "dataset_last_role")


def _way_to_rows(whole: int | None) -> str:
    if whole is None:
        return "Add rows, or choose another file."
    if whole < 2 * LEAST_ROWS:
        return (
            f"A file of {whole} rows cannot be split: choose a validation file, or upload at "
            f"least {2 * LEAST_ROWS} rows."
        )
    low, high = ceil(100 * LEAST_ROWS / whole) / 100, floor(100 - 100 * LEAST_ROWS / whole) / 100
    share = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return f"Hold out a share of {share}, or choose a validation file."


def _tool_checks(seen: _Seen, names: frozenset[str]) -> Iterator[Check]:
    for unknown, line in sorted(seen.unknown_tools.items()):
        close = get_close_matches(unknown, sorted(names), n=1)
        hint = f" The closest name is `{close[0]}`." if close else ""
        sentence = (
            f"Row {line} names the tool `{unknown}`, which is not chosen.{hint} Mend the row, or "
            "choose the tool."
        )
        yield Check("Tools", "problem", sentence, "tool_versions", "tool_unknown")
    if not seen.unknown_tools:
        listed = ", ".join(sorted(names)) or "none; the agent answers without tools"
        yield Check("Tools", "ok", f"Chosen: {listed}.")


def _overlap_check(train: _Seen, validation: _Seen) -> Check:
    shared = train.tasks.keys() & validation.tasks.keys()
    if not shared:
        return Check("Overlap", "ok", f"0 of {validation.rows} validation rows in train.")
    line = min(validation.tasks[key] for key in shared)
    sentence = (
        f"{len(shared)} of {validation.rows} validation rows are training rows too (the first is "
        f"row {line}), so validation would not measure learning. Remove them from one file."
    )
    return Check("Overlap", "problem", sentence, "validation_version", "overlap")


def _variable_checks(seen: list[_Seen], grader: Grader | None) -> Iterator[Check]:
    if grader is None or not seen:
        return
    complete = True
    for part in seen:
        for variable, count in sorted(part.missing.items()):
            complete = False
            present = ", ".join(sorted(part.keys))
            sentence = (
                f"`{{{{{variable}}}}}` is missing in {count} of {part.rows} rows. Keys present: "
                f"{present}. Use one of these, or add it to the rows."
            )
            yield Check("Grader", "problem", sentence, "grader_version", "grader_variable")
    if complete:
        yield Check("Grader", "ok", "Its variables are present in every row.")


def _sample_checks(grader: Grader | None, request: JobRequest) -> Iterator[Check]:
    """What the grader reads of a sample that no rollout of the job would have."""
    absent = {"output_audio": "rollouts are text"}
    if not request.response_format:
        absent["output_json"] = "the job has no response format"
    for key, reason in absent.items():
        for variable in reading(grader.variables() if grader else (), "sample", key):
            sentence = (
                f"No rollout would have `{{{{{variable}}}}}`: {reason}. Use "
                "`{{sample.output_text}}`, or a Python grader that reads "
                'json.loads(sample["output_text"]).'
            )
            yield Check("Grader", "problem", sentence, "grader_version", "grader_variable")


def _request_checks(request: JobRequest) -> Iterator[Check]:
    if not 0 <= request.seed <= SEED_MAX:
        text = f"The seed is {request.seed}; it must be from 0 to {SEED_MAX}."
        yield Check("Training", "problem", text, "seed", "invalid")
    if not request.validation_version and not 0 < request.validation_share < 1:
        text = f"{request.validation_share:g} of the rows cannot be held out; use 0.1, say."
        yield Check("Validation", "problem", text, "validation_share", "invalid")
    if not metadata_fits(request.metadata):
        text = (
            f"Metadata holds at most {METADATA_MOST} pairs, keys of {METADATA_KEY} and values of "
            f"{METADATA_VALUE} characters."
        )
        yield Check("Metadata", "problem", text, "metadata", "invalid")


def metadata_fits(metadata: Mapping[str, str]) -> bool:
    """Whether the pairs are within the contract's limits, and storable."""
    return len(metadata) <= METADATA_MOST and all(
        isinstance(value, str)
        and len(key) <= METADATA_KEY
        and len(value) <= METADATA_VALUE
        and "\x00" not in key + value
        for key, value in metadata.items()
    )
