"""Changes to graders, and trying one on a sample."""

from graders.services.authoring import grader_archive, grader_create, grader_version_add
from graders.services.specs import spec_check
from graders.services.trying import grader_try, tool_calls_from_text, typed_sample

__all__ = [
    "grader_archive",
    "grader_create",
    "grader_try",
    "grader_version_add",
    "spec_check",
    "tool_calls_from_text",
    "typed_sample",
]
