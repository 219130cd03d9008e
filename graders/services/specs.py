"""Specs from outside, checked before anything is stored or run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from graders.errors import InvalidSpec
from graders.kinds.base import GraderSpecError
from graders.kinds.registry import validate_spec
from graders.services.outside import judges_check
from hone.accounts.models import Organisation
from hone.core.errors import UserError
from hone.core.json_text import json_check

SPEC_BYTES = 1_000_000


def spec_check(spec: Mapping[str, Any], *, organisation: Organisation | None = None) -> None:
    """Raises UserError where `spec` cannot be stored or cannot work: in this organisation, whose
    judges it may name, where one is given."""
    json_check(spec, field="spec")
    size = len(json.dumps(spec, ensure_ascii=False).encode())
    if size > SPEC_BYTES:
        raise UserError(
            f"The grader has {size} bytes; at most {SPEC_BYTES} are kept. Shorten it.",
            code="too_long",
            field="spec",
        )
    try:
        validate_spec(spec)
        if organisation is not None:
            judges_check(organisation, spec)
    except GraderSpecError as error:
        raise InvalidSpec(error) from error


def spec_hash(spec: Mapping[str, Any]) -> str:
    """The SHA-256 of the spec, whatever the order of its keys."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
