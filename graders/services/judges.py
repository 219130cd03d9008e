"""Changes to judges, and a question to one from the page."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from django.db import IntegrityError, transaction

from graders.kinds.base import TokenUsage
from graders.kinds.judging.chat import LONGEST_MODEL, Question, UnusableReply
from graders.models import Judge
from graders.selectors import access_judge, judge_endpoint
from graders.services.outside import outside_with
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation, access_row
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError
from hone.core.net.errors import OutboundError
from hone.core.net.headers import validate_headers
from hone.core.net.line import NoAnswer, shown
from hone.core.net.target import parse_url
from hone.core.secrets import encrypt

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MOST_MODELS = 100
MOST_PRICE = Decimal(100_000)
MOST_PER_MINUTE = 1_000_000
MOST_CONCURRENT = 256
LONGEST_TIMEOUT_S = 600.0
LONGEST_URL = 2000
LONGEST_QUESTION = 4000
TRIAL_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "number"}},
    "required": ["answer", "score"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class JudgeFields:
    """All of a judge but its name and its key. Prices are for a million tokens."""

    base_url: str
    models: tuple[str, ...]
    input_price: Decimal = Decimal(0)
    output_price: Decimal = Decimal(0)
    per_minute: int = 0
    max_concurrency: int = 8
    timeout_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class TriedJudge:
    """What came of one question: `reply` in JSON, or what is wrong."""

    model: str
    seconds: float
    reply: str = ""
    error: str = ""
    refusal: bool = False
    sampled_model: str = ""
    usage: TokenUsage | None = None
    cost: float | None = None


def judge_create(
    *, acting_user: User, organisation: Organisation, name: str, fields: JudgeFields, key: str
) -> Judge:
    """Register a judge. Some servers need no key."""
    access_organisation(acting_user, organisation.id, need="write")
    for problem in judge_problems(fields, name=name, key=key):
        raise problem
    judge = Judge(organisation=organisation, name=name.strip(), created_by=acting_user)
    _fill(judge, fields)
    judge.key_sealed = _sealed(judge, key)
    try:
        with transaction.atomic():
            judge.save(force_insert=True)
            _record(acting_user, judge, "create")
    except IntegrityError as error:
        raise UserError(
            f"A judge is called {judge.name!r} already. Change that one, or use another name.",
            code="name_taken",
            field="name",
        ) from error
    return judge


def judge_change(*, acting_user: User, judge: Judge, fields: JudgeFields, key: str = "") -> Judge:
    """Change all but the name; a blank key keeps the one that is there, as long as the server is
    the same. Runs use it from the next start of their engine on."""
    access_judge(acting_user, judge.pk, need="write")
    for problem in judge_problems(fields, key=key):
        raise problem
    with transaction.atomic():
        locked = _locked(acting_user, judge)
        _refuse_moved(locked, fields, key)
        _fill(locked, fields)
        changed = [
            "base_url",
            "models_offered",
            "input_price",
            "output_price",
            "per_minute",
            "max_concurrency",
            "timeout_s",
        ]
        if key:
            locked.key_sealed = _sealed(locked, key)
            changed.append("key_sealed")
        locked.save(update_fields=changed)
        _record(acting_user, locked, "change", key_changed=bool(key))
    return locked


def judge_key_rotate(*, acting_user: User, judge: Judge, key: str) -> Judge:
    """Put another key in the place of the old one, which is gone; nothing else changes."""
    access_judge(acting_user, judge.pk, need="write")
    if not key:
        raise UserError("Type the new key.", code="blank", field="key")
    _check_key(key)
    with transaction.atomic():
        locked = _locked(acting_user, judge)
        locked.key_sealed = _sealed(locked, key)
        locked.save(update_fields=["key_sealed"])
        _record(acting_user, locked, "key")
    return locked


def judge_archive(*, acting_user: User, judge: Judge) -> None:
    """Take the judge off the lists; graders cannot name it any more, jobs that use it keep it."""
    access_judge(acting_user, judge.pk, need="write")
    with transaction.atomic():
        if Judge.objects.filter(pk=judge.pk, archived=False).update(archived=True):
            _record(acting_user, judge, "archive")


def judge_try(*, acting_user: User, judge: Judge, model: str, question: str) -> TriedJudge:
    """Ask once from the page, as a grader would, but without retries."""
    access_judge(acting_user, judge.pk, need="write")
    question = text.storable(question, field="question").strip()
    if not 0 < len(question) <= LONGEST_QUESTION:
        raise UserError(
            f"The question has {len(question)} characters; write 1 to {LONGEST_QUESTION}.",
            code="question",
            field="question",
        )
    if model not in judge.models_offered:
        raise UserError(
            f"{model[:80]!r} is none of the models of {judge.name}.", code="model", field="model"
        )
    endpoint = judge_endpoint(judge, model)
    messages = [{"role": "user", "content": question}]
    asked = Question(messages=messages, name="trial", schema=TRIAL_SCHEMA)
    started = time.perf_counter()
    try:
        reply = outside_with({model: endpoint}).judges.ask(model, asked)
    except NoAnswer as loss:
        seconds = time.perf_counter() - started
        return TriedJudge(model=model, seconds=seconds, error=_sentence(loss.reason))
    seconds = time.perf_counter() - started
    error, refusal = "", False
    try:
        reply.document()
    except UnusableReply as unusable:
        error, refusal = _sentence(unusable.reason), unusable.refusal
    return TriedJudge(
        model=model,
        seconds=seconds,
        reply=shown(reply.content or ""),
        error=error,
        refusal=refusal,
        sampled_model=reply.model,
        usage=reply.usage,
        cost=endpoint.cost(reply.usage),
    )


def judge_problems(
    fields: JudgeFields, *, name: str | None = None, key: str = ""
) -> list[UserError]:
    """What is wrong with each field, the first of each; `None` is a judge that has its name."""
    checks: list[Callable[[], None]] = [
        lambda: _check_url(fields.base_url),
        lambda: _check_models(fields.models),
        lambda: _check_price("input_price", fields.input_price),
        lambda: _check_price("output_price", fields.output_price),
        lambda: _check_whole("per_minute", fields.per_minute, 0, MOST_PER_MINUTE),
        lambda: _check_whole("max_concurrency", fields.max_concurrency, 1, MOST_CONCURRENT),
        lambda: _check_timeout(fields.timeout_s),
        lambda: _check_key(key),
    ]
    if name is not None:
        checks.insert(0, lambda: _check_name(name))
    found = []
    for check in checks:
        try:
            check()
        except UserError as error:
            found.append(error)
    return found


def _fill(judge: Judge, fields: JudgeFields) -> None:
    judge.base_url = fields.base_url.strip().rstrip("/")
    judge.models_offered = list(fields.models)
    judge.input_price = fields.input_price
    judge.output_price = fields.output_price
    judge.per_minute = fields.per_minute
    judge.max_concurrency = fields.max_concurrency
    judge.timeout_s = fields.timeout_s


def _sealed(judge: Judge, key: str) -> str:
    return encrypt(key, place=judge.secret_place) if key else ""


def _locked(acting_user: User, judge: Judge) -> Judge:
    locked = access_row(Judge.objects.select_for_update(), acting_user, judge.pk, need="write")
    if locked.archived:
        raise UserError(
            f"{locked.name} is archived, so it is not changed any more. Register a new judge.",
            code="archived",
        )
    return locked


def _refuse_moved(judge: Judge, fields: JudgeFields, key: str) -> None:
    """Whoever may change the address must not learn a key that was meant for another server."""
    known, asked = parse_url(judge.base_url).origin, parse_url(fields.base_url.strip()).origin
    if judge.has_key and not key and known != asked:
        raise UserError(
            f"The key was given for {known}, and the address is now at {asked}. Type the key for "
            "the new address.",
            code="key_moved",
            field="key",
        )


def _check_name(name: str) -> None:
    if not NAME.fullmatch(text.storable(name, field="name").strip()):
        raise UserError(
            f"{name[:80]!r} is no name of a judge. Use 1 to 64 letters, digits, `_`, `.` or `-`.",
            code="judge_name",
            field="name",
        )


def _check_url(url: str) -> None:
    try:
        target = parse_url(text.storable(url, field="base_url").strip())
    except OutboundError as error:
        raise UserError(error.message, code="url", field="base_url") from error
    if len(url) > LONGEST_URL:
        raise UserError(
            f"The URL has {len(url)} characters; at most {LONGEST_URL} fit.",
            code="url",
            field="base_url",
        )
    if "?" in target.path or target.path.rstrip("/").endswith("/chat/completions"):
        raise UserError(
            "The base URL ends before /chat/completions and has no query, as "
            "https://api.example.org/v1. Shorten it.",
            code="url",
            field="base_url",
        )


def _check_models(models: tuple[str, ...]) -> None:
    if not 1 <= len(models) <= MOST_MODELS:
        raise UserError(
            f"{len(models)} models are named; name 1 to {MOST_MODELS}, one a line.",
            code="models",
            field="models",
        )
    for model in models:
        text.storable(model, field="models")
        if len(model) > LONGEST_MODEL:
            raise UserError(
                f"{model[:60]!r}… has {len(model)} characters; at most {LONGEST_MODEL} fit.",
                code="models",
                field="models",
            )
        if models.count(model) > 1:
            raise UserError(
                f"{model[:80]!r} is there twice. Remove one.", code="models", field="models"
            )


def _check_price(field: str, price: Decimal) -> None:
    if not price.is_finite() or not 0 <= price <= MOST_PRICE:
        raise UserError(f"The price is {price}; use 0 to {MOST_PRICE}.", code="price", field=field)


def _check_whole(field: str, number: int, low: int, high: int) -> None:
    if not low <= number <= high:
        raise UserError(f"It is {number}; use {low} to {high}.", code="range", field=field)


def _check_timeout(seconds: float) -> None:
    if not 0 < seconds <= LONGEST_TIMEOUT_S:
        raise UserError(
            f"The time limit is {seconds:g} s; use more than 0 and at most {LONGEST_TIMEOUT_S:g}.",
            code="range",
            field="timeout_s",
        )


def _check_key(key: str) -> None:
    """As a header takes it; the message never holds it."""
    try:
        if key:
            validate_headers({"Authorization": f"Bearer {key}"})
    except OutboundError as error:
        raise UserError(
            "The key holds a character that headers cannot carry, begins or ends with a space, or "
            "is over 8 kB. Paste it again.",
            code="key",
            field="key",
        ) from error


def _sentence(reason: str) -> str:
    text_of = reason[:1].upper() + reason[1:]
    return text_of if text_of.endswith((".", "…")) else f"{text_of}."


def _record(acting_user: User, judge: Judge, action: str, **detail: object) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=judge.organisation,
        action=f"judge.{action}",
        target=judge.pk,
        detail={"name": judge.name, "base_url": judge.base_url, **detail},
    )
