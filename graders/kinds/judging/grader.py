"""What `score_model` and `label_model` share: a question, an answer in JSON, and its reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import ErrorCode, Grading, GradingError, Sample
from graders.kinds.judging.chat import LONGEST_MODEL, Question, UnusableReply
from graders.kinds.judging.judges import JudgeCaller
from graders.kinds.judging.messages import Message, read_messages
from graders.kinds.spec import SpecReader
from graders.kinds.templates import MissingVariable
from hone.core.net.client import MIB
from hone.core.net.line import NoAnswer

LONGEST_REASONING = 4000
STEPS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"description": {"type": "string"}, "conclusion": {"type": "string"}},
        "required": ["description", "conclusion"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, kw_only=True)
class JudgeGrader:
    """Asks one question a sample. `reward_of` reads `result` and raises UnusableReply."""

    model: str
    messages: tuple[Message, ...]
    name: str
    result: Mapping[str, Any]
    """The schema of `result`."""
    sampling: Mapping[str, Any]
    judges: JudgeCaller
    reward_of: Callable[[Any], float]

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        namespaces = {"item": item, "sample": sample.as_dict()}
        try:
            messages = [message.render(namespaces) for message in self.messages]
        except MissingVariable as error:
            return Grading(reward=None, error=GradingError("invalid_variable", str(error)))
        size = sum(len(str(message["content"]).encode()) for message in messages)
        if size > MIB:
            text = f"The question to the judge has {size} bytes; at most {MIB} are sent."
            return Grading(reward=None, error=GradingError("truncated_observation", text))
        question = Question(
            messages=messages, name=self.name, schema=self._schema(), sampling=self.sampling
        )
        return self._asked(question)

    def variables(self) -> frozenset[str]:
        return frozenset[str]().union(*(message.variables() for message in self.messages))

    def _schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"steps": STEPS, "result": dict(self.result)},
            "required": ["steps", "result"],
            "additionalProperties": False,
        }

    def _asked(self, question: Question) -> Grading:
        try:
            reply = self.judges.ask(self.model, question)
        except NoAnswer as loss:
            return Grading(reward=None, error=server_error(loss))
        usage, sampled = {self.model: reply.usage}, reply.model or None
        try:
            document = reply.document()
            reward = self.reward_of(_result(document))
        except UnusableReply as error:
            code: ErrorCode = "model_grader_refusal" if error.refusal else "model_grader_parse"
            return Grading(
                reward=None,
                error=GradingError(code, f"{_sentence(error.reason)}"),
                usage=usage,
                sampled_model=sampled,
            )
        return Grading(
            reward=reward, stdout=_reasoning(document), usage=usage, sampled_model=sampled
        )


def read_model(spec: SpecReader) -> str:
    """The name of the judge's model as the author writes it."""
    model = spec.text("model").strip()
    if not 0 < len(model) <= LONGEST_MODEL:
        raise spec.refuse("model", f"A model's name has 1 to {LONGEST_MODEL} characters.")
    return model


def read_question(spec: SpecReader) -> tuple[Message, ...]:
    return read_messages(spec, "input")


def _result(document: Any) -> Any:
    if not isinstance(document, dict) or "result" not in document:
        raise UnusableReply("what the judge wrote has no “result”")
    return document["result"]


def server_error(loss: NoAnswer) -> GradingError:
    code: ErrorCode = "model_grader_parse" if loss.loss == "unusable" else "model_grader_server"
    return GradingError(code, _sentence(loss.reason), infra=loss.is_outage, type=loss.loss)


def _sentence(reason: str) -> str:
    text = reason[:1].upper() + reason[1:]
    return text if text.endswith((".", "…")) else f"{text}."


def _reasoning(document: Mapping[str, Any]) -> str:
    """The judge's steps and result, for those who look."""
    steps = document.get("steps")
    lines = [
        f"{step.get('description', '')}: {step.get('conclusion', '')}"
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, dict)
    ]
    text = "\n".join([*lines, f"Result: {document['result']}"])
    text = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return text if len(text) <= LONGEST_REASONING else f"{text[:LONGEST_REASONING]}…"
