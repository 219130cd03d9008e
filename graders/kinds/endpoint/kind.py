"""endpoint: the author's own server says how good a sample is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader, Grading, GradingError, Sample
from graders.kinds.endpoint.calling import EndpointCall, EndpointCaller
from graders.kinds.spec import Kind, SpecReader
from hone.core.net.client import MIB
from hone.core.net.errors import OutboundError
from hone.core.net.headers import validate_headers
from hone.core.net.line import NoAnswer
from hone.core.net.target import parse_url

USUAL_RATE = 50.0
MOST_RATE = 1000.0


@dataclass(frozen=True)
class EndpointGrader:
    """Posts sample, row and trace, and takes the score on any scale."""

    call: EndpointCall
    endpoints: EndpointCaller

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        body = {"sample": sample.as_dict(), "item": dict(item), "trace_id": sample.trace_id}
        try:
            text = json.dumps(body, allow_nan=False, ensure_ascii=False)
            content = text.encode("utf-8", "replace")
        except (TypeError, ValueError, RecursionError) as error:
            text = f"The sample cannot be written as JSON: {error}."
            return Grading(reward=None, error=GradingError("sample_parse", text))
        if len(content) > MIB:
            text = f"The request has {len(content)} bytes; an endpoint is sent at most {MIB}."
            return Grading(reward=None, error=GradingError("truncated_observation", text))
        try:
            return Grading(reward=self.endpoints.score(self.call, content))
        except NoAnswer as loss:
            reason = loss.reason[:1].upper() + loss.reason[1:]
            wrong = GradingError(
                "unresponsive_reward", reason, infra=loss.is_outage, type=loss.loss
            )
            return Grading(reward=None, error=wrong)

    def variables(self) -> frozenset[str]:
        return frozenset()


def build(spec: SpecReader) -> Grader:
    """A grader for an endpoint spec."""
    url = spec.text("url").strip()
    try:
        parse_url(url)
    except OutboundError as error:
        raise spec.refuse("url", error.message) from error
    rate = spec.number("rate_limit") if spec.has("rate_limit") else USUAL_RATE
    if not 0 < rate <= MOST_RATE:
        raise spec.refuse("rate_limit", f"It is a number of calls a second up to {MOST_RATE:g}.")
    call = EndpointCall(
        place=spec.place("").rstrip("."), url=url, headers=_headers(spec), per_second=rate
    )
    return EndpointGrader(call, spec.hooks.outside.endpoints)


def _headers(spec: SpecReader) -> dict[str, str]:
    if not spec.has("headers"):
        return {}
    given = spec.value("headers")
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str) for name, value in given.items()
    ):
        raise spec.refuse("headers", "It is no object of texts by header name.")
    try:
        validate_headers({name: value or "x" for name, value in given.items()})
    except OutboundError as error:
        raise spec.refuse("headers", error.message) from error
    return dict(given)


KIND = Kind(
    type="endpoint",
    title="Your own server",
    required=frozenset({"url"}),
    optional=frozenset({"headers", "rate_limit"}),
    build=build,
)
