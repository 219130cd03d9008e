"""The form of the playground: a task, tools, and the models that try it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django import forms

from hone.accounts.models import Organisation
from hone.core.forms import PlainForm
from hone.datasets.messages import Message, message_problems
from hone.tools.models import Effects, ToolVersion
from jobs.models import BaseModel, Checkpoint, Job
from jobs.selectors.choices import (
    Choice,
    Versions,
    base_model_choices,
    dataset_choices,
    grader_versions,
    newest_tools,
    recording_choices,
)
from jobs.selectors.tryouts import checkpoints_to_try
from jobs.services.tryouts import BASE, CHECKPOINT, TryoutRequest

LARGEST_SEED = 2**31 - 1
LONGEST_MESSAGES = 100_000
MOST_TURNS, MOST_TURN_TOKENS = 50, 8192
USUAL = TryoutRequest(a="")


@dataclass(frozen=True)
class PlaygroundChoices:
    """What the form offers: tasks, tools, graders, and every model that can answer."""

    datasets: list[Choice]
    tools: list[ToolVersion]
    recordings: list[Choice]
    graders: Versions
    bases: list[Choice]
    checkpoints: list[Choice]


def playground_choices(
    organisation: Organisation, also: Checkpoint | None = None
) -> PlaygroundChoices:
    """`also`: a checkpoint that is offered even where there are many newer ones."""
    points = checkpoints_to_try(organisation)
    if also is not None and also.available and also not in points:
        points.insert(0, also)
    return PlaygroundChoices(
        datasets=dataset_choices(organisation),
        tools=newest_tools(organisation),
        recordings=recording_choices(organisation),
        graders=grader_versions(organisation),
        bases=[(f"{BASE}:{pk}", words) for pk, words in base_model_choices()],
        checkpoints=[(f"{CHECKPOINT}:{each.pk}", _point_words(each)) for each in points],
    )


class PlaygroundForm(PlainForm):
    """Only shapes are checked here. Tools that write are never filled in, only ticked."""

    version = forms.ChoiceField(required=False, label="Task from")
    row = forms.IntegerField(
        required=False, min_value=1, max_value=LARGEST_SEED, initial=1, label="Row"
    )
    messages = forms.CharField(
        required=False,
        max_length=LONGEST_MESSAGES,
        label="Or messages of your own",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="They are tried instead of the row. Plain text is one message by the user; a "
        "JSON list of messages is taken as it is.",
    )
    tools = forms.MultipleChoiceField(
        required=False, label="Tools", widget=forms.CheckboxSelectMultiple
    )
    recording = forms.ChoiceField(
        required=False,
        label="Tool calls answered by",
        help_text="The tools themselves are really called. A recording calls nothing.",
    )
    grader = forms.ChoiceField(required=False, label="Grader")
    seed = forms.IntegerField(
        required=False, min_value=0, max_value=LARGEST_SEED, initial=USUAL.seed, label="Seed"
    )
    temperature = forms.FloatField(
        required=False,
        min_value=0,
        max_value=2,
        initial=0,
        label="Temperature",
        help_text="0 takes the likeliest token each time.",
    )
    max_turns = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_TURNS,
        initial=USUAL.max_turns,
        label="At most turns",
    )
    max_turn_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_TURN_TOKENS,
        initial=USUAL.max_turn_tokens,
        label="Tokens a turn",
    )
    a = forms.ChoiceField(label="A")
    b = forms.ChoiceField(label="B", required=False)

    def __init__(self, *args: Any, choices: PlaygroundChoices, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offered = choices
        models = [("Base models", choices.bases), ("Checkpoints", choices.checkpoints)]
        groups = [group for group in models if group[1]]
        self._choose("version", [("", "choose…"), *choices.datasets])
        self._choose("tools", [(tool.pk, _tool_words(tool)) for tool in choices.tools])
        self._choose("recording", [("", "the tools themselves"), *choices.recordings])
        self._choose("grader", [("", "none"), *choices.graders.offered])
        self._choose("a", groups)
        self._choose("b", [("", "nobody: A alone"), *groups])

    def _choose(self, name: str, choices: list[Any]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def clean_messages(self) -> list[dict[str, Any]]:
        text = self.cleaned_data["messages"].strip()
        if not text:
            return []
        if not text.startswith("["):
            return [{"role": "user", "content": text}]
        try:
            messages = json.loads(text)
            read = msgspec.convert(messages, list[Message])
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            raise forms.ValidationError(
                f"This begins with [ and is no list of messages: {error}. Mend it, or begin with "
                "a word."
            ) from error
        problem = next(message_problems(1, read), None)
        if problem is not None:
            raise forms.ValidationError(problem.message.replace("Line 1", "This", 1))
        return list(messages)

    def as_request(self) -> TryoutRequest:
        """Of a form that is valid; what is left out is as usual."""
        given = self.cleaned_data

        def number(name: str) -> Any:
            return getattr(USUAL, name) if given[name] is None else given[name]

        return TryoutRequest(
            a=given["a"],
            b=given["b"],
            version=given["version"],
            row=(given["row"] or 1) - 1,
            messages=given["messages"],
            tools=given["tools"],
            recording=given["recording"],
            grader=given["grader"],
            seed=number("seed"),
            temperature=number("temperature"),
            max_turns=number("max_turns"),
            max_turn_tokens=number("max_turn_tokens"),
        )


def again(job: Job, offered: PlaygroundChoices) -> dict[str, Any]:
    """The form's values for a try like this one."""
    frozen: dict[str, Any] = job.spec
    sides = [_side_value(side) for side in frozen["sides"]]
    tryout = job.tryout
    own = tryout.row is None or job.train_version_id is None
    return {
        "version": "" if own else job.train_version_id,
        "row": 1 if own else (tryout.row or 0) + 1,
        "messages": _messages_text(tryout.item["messages"]) if own else "",
        "tools": harmless(offered.tools, {tool["name"] for tool in frozen["tools"]}),
        "recording": (frozen["recording"] or {}).get("id", ""),
        "grader": _grader(job, offered),
        "seed": job.seed,
        "temperature": f"{frozen['engine']['temperature']:g}",
        "max_turns": frozen["budgets"]["max_turns"],
        "max_turn_tokens": frozen["budgets"]["max_turn_tokens"],
        "a": sides[0],
        "b": sides[1] if len(sides) > 1 else "",
    }


def beside_base(
    point: Checkpoint, bases: Iterable[BaseModel], offered: PlaygroundChoices
) -> dict[str, Any]:
    """A checkpoint beside its base model, on a task of its job's validation."""
    job = point.run.job
    rows = (job.spec.get("validation") or {}).get("split_rows")
    known = {model.pk for model in bases}
    return {
        "a": f"{BASE}:{job.base_model_id}" if job.base_model_id in known else "",
        "b": f"{CHECKPOINT}:{point.pk}",
        "version": job.validation_version_id or "",
        "row": rows[0] + 1 if rows else 1,
        "tools": harmless(offered.tools, {tool["name"] for tool in job.spec["tools"]}),
        "grader": _grader(job, offered),
        "seed": job.seed,
    }


def harmless(offered: Iterable[ToolVersion], names: Iterable[str]) -> list[str]:
    """Those of these tools that may be ticked without asking: none of them writes."""
    wanted = set(names)
    return [
        tool.pk for tool in offered if tool.tool.name in wanted and tool.effects != Effects.WRITES
    ]


def swapped(values: Mapping[str, Any]) -> dict[str, Any]:
    """A and B exchanged; nobody cannot be A."""
    both = {"a": values.get("b"), "b": values.get("a")} if values.get("b") else {}
    return {**values, **both}


def _grader(job: Job, offered: PlaygroundChoices) -> str:
    """The newest version of the job's grader; empty where there is none."""
    found = offered.graders.renewed(job.grader_version_id)
    return found[1].pk if found else ""


def _side_value(frozen: Mapping[str, Any]) -> str:
    point = frozen["checkpoint"]
    return f"{CHECKPOINT}:{point}" if point else f"{BASE}:{frozen['base_model']}"


def _messages_text(messages: list[dict[str, Any]]) -> str:
    only = messages[0]
    plain = len(messages) == 1 and set(only) == {"role", "content"} and only["role"] == "user"
    if plain and isinstance(only["content"], str):
        return only["content"]
    return json.dumps(messages, indent=1, ensure_ascii=False)


def _point_words(point: Checkpoint) -> str:
    job = point.run.job
    best = " · best" if point.step == job.best_step else ""
    return f"{job.name} · step {point.step}{best} · on {job.base_model.name}"


def _tool_words(tool: ToolVersion) -> str:
    writes = " · writes: each call really changes something" * (tool.effects == Effects.WRITES)
    return f"{tool.tool.name} v{tool.number}{writes}"
