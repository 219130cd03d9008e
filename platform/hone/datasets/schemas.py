"""Whether a tool's `parameters` are a JSON schema of an object. Pure."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urljoin

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema_specifications import REGISTRY

from hone.datasets.values import cut

LONGEST_SCHEMA = 64_000
"""In characters; the limit of a registered tool too."""
_LONGEST_KNOWN = 20_000
_MOST_KNOWN = 1000
_known: dict[str, str] = {}


def schema_fault(schema: dict[str, Any]) -> str:
    """What is wrong with it, for a sentence; empty where nothing is. Most rows repeat a few."""
    text = json.dumps(schema, ensure_ascii=False)
    if len(text) > LONGEST_SCHEMA:
        return f"it has {len(text)} characters, and at most {LONGEST_SCHEMA} fit"
    fault = _known.get(text)
    if fault is None:
        fault = _fault(schema)
        if len(text) <= _LONGEST_KNOWN:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[text] = fault
    return fault


def _fault(schema: dict[str, Any]) -> str:
    if schema.get("type", "object") != "object":
        return f"its type is {cut(repr(schema['type']))}, and arguments are an object"
    try:
        error = best_match(_schemas.iter_errors(schema))
    except RecursionError:
        return "it is nested too deeply"
    return cut(error.message).rstrip(".") if error is not None else ""


def _flat_metaschema() -> dict[str, Any]:
    """The schema of schemas as one document. It is published in eight that refer to one another
    dynamically, which costs six times as long, and every row may bring schemas of its own."""
    whole = Draft202012Validator.META_SCHEMA
    parts = [REGISTRY.contents(urljoin(whole["$id"], part["$ref"])) for part in whole["allOf"]]
    flat: dict[str, Any] = {"type": ["object", "boolean"]}
    for name in ("properties", "$defs"):
        flat[name] = {
            key: value for part in [*parts, whole] for key, value in part.get(name, {}).items()
        }
    text = json.dumps(flat).replace('"$dynamicRef": "#meta"', '"$ref": "#"')
    return dict(json.loads(re.sub(r'"meta/[a-z-]+#', '"#', text)))


_schemas = Draft202012Validator(_flat_metaschema())
