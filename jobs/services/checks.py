"""The live checks of a job request: everything together, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import ceil, floor
from pathlib import Path

from hone.accounts.models import Organisation
from hone.core.errors import UserError
from hone.datasets.models import DatasetVersion
from jobs.models import BaseModel, BaseModelStatus
from jobs.selectors import inputs
from jobs.services import here
from jobs.services.chosen import Inputs, request_inputs
from jobs.services.credit_checks import credit_checks
from jobs.services.estimate import job_estimate
from jobs.services.fork_checks import fork_checks
from jobs.services.hyperparameters import (
    Setting,
    hyperparameter_warnings,
    resolve_hyperparameters,
    value_of,
)
from jobs.services.judge_checks import judge_checks
from jobs.services.length import length_checks
from jobs.services.memory import memory_check
from jobs.services.options import Facts
from jobs.services.readers import Reader, gold_template, job_readers, reader_checks
from jobs.services.request import Check, Checked, JobRequest
from jobs.services.rows import Scan, Seen, scanned

LEAST_ROWS = 10
SEED_MAX = 2**31 - 1
METADATA_MOST, METADATA_KEY, METADATA_VALUE = 16, 64, 512

HELD_OUT_REPEATS = 0.1


def job_checks(organisation: Organisation, request: JobRequest) -> Checked:
    """All checks of a request, in the order in which they are shown."""
    chosen, checks = request_inputs(organisation, request)
    settings, problems = _settings(chosen, request)
    if chosen.base_model is not None:
        checks += [_model_check(chosen.base_model), *here.template_checks(chosen.base_model)]
    readers = job_readers(chosen, request)
    seen = _data_checks(chosen, readers, gold_template(readers, request), checks)
    if chosen.recording is None:
        checks += here.tool_checks(chosen.tools)
    else:
        sentence = f"Every call is answered by the recording {chosen.recording.name}."
        checks.append(Check("Tools", "ok", sentence))
    for reader in readers:
        checks += reader_checks(reader, seen, request)
    prompts = [prompt for part in seen.values() for prompt in part.longest.values()]
    if chosen.base_model is not None and prompts:
        schemas = [inputs.tool_schema(tool) for tool in chosen.tools]
        checks += length_checks(chosen.base_model, prompts, schemas, settings)
    checks += fork_checks(chosen, settings)
    checks += judge_checks(organisation, chosen, request)
    checks += memory_check(chosen.base_model, settings)
    checks += [Check("Training", "problem", text, name, "invalid") for name, text in problems]
    checks += [
        Check("Training", "warning", text, name, "no_effect")
        for name, text in hyperparameter_warnings(settings)
    ]
    checks += credit_checks(chosen, request, settings)
    checks += _request_checks(request)
    if not problems and chosen.train is not None:
        checks.append(Check("Training", "ok", f"Steps: {value_of(settings, 'steps')}."))
    if problems or chosen.base_model is None or chosen.train is None:
        return Checked(checks, settings)
    rows = _count(chosen.validation, chosen.validation_rows)
    return Checked(checks, settings, job_estimate(organisation, chosen, settings, rows))


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


def _data_checks(
    chosen: Inputs, readers: list[Reader], gold: str, checks: list[Check]
) -> dict[str, Seen]:
    """Read each file once; add what is said about the files and about both together."""
    variables = frozenset[str]().union(*(reader.variables for reader in readers))
    names = frozenset(inputs.tool_name(tool) for tool in chosen.tools)
    parts = (
        ("train", "Tasks", "train_version", chosen.train, chosen.train_rows),
        (
            "validation",
            "Validation",
            "validation_version",
            chosen.validation,
            chosen.validation_rows,
        ),
    )
    found: dict[str, Seen] = {}
    for part, topic, name, version, rows in parts:
        if version is None:
            continue
        try:
            # Raises where the file is gone, even if it was read before.
            inputs.dataset_path(version)
            seen = scanned(Scan(version.sha256, rows, names, variables, gold, version))
        except (OSError, ValueError, UserError) as error:
            sentence = f"The file of {inputs.dataset_name(version)} cannot be read: {error}"
            checks.append(Check(topic, "problem", sentence, name, "dataset_unreadable"))
            continue
        found[part] = seen
        title = inputs.dataset_name(version)
        whole = None if rows is None else version.rows
        checks += _file_checks(seen, topic, name, title, whole)
        checks += _tool_checks(seen, names)
    if len(found) == 2:
        held_out = chosen.validation_rows is not None
        checks.append(_overlap_check(found["train"], found["validation"], held_out=held_out))
    return found


def _file_checks(
    seen: Seen, topic: str, name: str, title: str, whole: int | None
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


def _tool_checks(seen: Seen, names: frozenset[str]) -> Iterator[Check]:
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


def _overlap_check(train: Seen, validation: Seen, *, held_out: bool) -> Check:
    """Held out of a file with a few repeats, rows measure well enough; nobody chose the draw."""
    shared = train.tasks.keys() & validation.tasks.keys()
    if not shared:
        return Check("Overlap", "ok", f"0 of {validation.rows} validation rows in train.")
    if held_out and len(shared) <= HELD_OUT_REPEATS * validation.rows:
        sentence = (
            f"{len(shared)} of {validation.rows} held-out rows repeat a training row, because the "
            "dataset has rows twice. Its report lists them."
        )
        return Check("Overlap", "warning", sentence, "train_version", "overlap")
    line = min(validation.tasks[key] for key in shared)
    sentence = (
        f"{len(shared)} of {validation.rows} validation rows are training rows too (the first is "
        f"row {line}), so validation would not measure learning. Remove them from one file."
    )
    return Check("Overlap", "problem", sentence, "validation_version", "overlap")


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
