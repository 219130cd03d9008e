"""Changes to graders and their fixtures, and trying a grader on a sample."""

from graders.services.authoring import grader_archive, grader_create, grader_version_add
from graders.services.fixtures import (
    Outcome,
    Wanted,
    fixture_change,
    fixture_create,
    fixture_delete,
    fixtures_rerun,
    fixtures_run,
)
from graders.services.headers import (
    header_replace,
    headers_fill,
    headers_take,
    version_opened,
)
from graders.services.ready import grade_or_error, grader_ready, version_ready
from graders.services.specs import spec_check
from graders.services.trying import grader_try, tool_calls_from_text, typed_sample

__all__ = [
    "Outcome",
    "Wanted",
    "fixture_change",
    "fixture_create",
    "fixture_delete",
    "fixtures_rerun",
    "fixtures_run",
    "grade_or_error",
    "grader_archive",
    "grader_create",
    "grader_ready",
    "grader_try",
    "grader_version_add",
    "header_replace",
    "headers_fill",
    "headers_take",
    "spec_check",
    "tool_calls_from_text",
    "typed_sample",
    "version_opened",
    "version_ready",
]
