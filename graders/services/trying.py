"""Trying a grader on a sample before it is saved or used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

import msgspec

from graders.errors import InvalidSpec, SandboxRefused
from graders.kinds.base import GraderSpecError, Grading, Sample
from graders.kinds.registry import load_grader
from graders.sandbox import SandboxUnavailable
from graders.services.outside import outside_of
from graders.services.ready import sandbox_of
from graders.services.specs import spec_check
from hone.accounts.models import Organisation
from hone.core.errors import UserError
from hone.core.json_text import json_check, value_from_text


def grader_try(
    *,
    organisation: Organisation,
    spec: Mapping[str, Any],
    sample: Sample,
    item: Mapping[str, Any],
) -> Grading:
    """Grade one sample; changes nothing. Raises UserError where the spec cannot run at all.

    Judges of the `organisation` are asked, and endpoints are called with the headers that stand in
    the spec (`headers_fill`): once, within a time that a page may take.
    """
    spec_check(spec, organisation=organisation)
    json_check(item, field="item")
    outside = outside_of(organisation, spec)
    traced = msgspec.structs.replace(sample, trace_id=sample.trace_id or f"trace_{token_hex(16)}")
    try:
        python = sandbox_of(organisation)
        return load_grader(spec, python=python, outside=outside).grade(traced, item)
    except GraderSpecError as error:
        raise InvalidSpec(error) from error
    except SandboxUnavailable as error:
        raise SandboxRefused(str(error)) from error


def typed_sample(output_text: str, output_tools: list[dict[str, Any]] | None = None) -> Sample:
    """A sample with this answer and these tool calls; JSON answers have `output_json`.

    An answer may be any text, so JSON that cannot be kept (NaN, say) is a text like others.
    """
    calls = output_tools or []
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": output_text, "tool_calls": calls},
    }
    try:
        value = json.loads(output_text)
        json_check(value, field="output_text")
    except (ValueError, RecursionError, UserError):
        return Sample(output_text=output_text, output_tools=calls, choices=[choice])
    return Sample(
        output_text=output_text,
        output_tools=calls,
        output_json=value,
        has_output_json=True,
        choices=[choice],
    )


def tool_calls_from_text(source: str, *, field: str) -> list[dict[str, Any]]:
    """The list of tool calls that a person wrote as JSON; nothing is an empty list."""
    value = value_from_text(source or "[]", field=field, wanted="a JSON list")
    if not isinstance(value, list) or not all(isinstance(call, dict) for call in value):
        raise UserError(
            'Tool calls are a list of objects. Write [{"function": {"name": "search", '
            '"arguments": "{}"}}], or leave it empty.',
            code="json",
            field=field,
        )
    return value
