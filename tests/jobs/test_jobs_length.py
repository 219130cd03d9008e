"""The longest prompt is counted as the engine renders it, or called an estimate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from graders.selectors import latest_version
from graders.services.authoring import grader_create
from hone.demo.base_model import WEIGHTS
from hone.tools.services import ToolFields, tool_create
from jobs.engine.rollout.render import ChatRenderer
from jobs.models import BaseModel
from jobs.services.chat import prompt_tokens
from jobs.services.checks import job_checks
from jobs.services.request import JobRequest
from tests.jobs.conftest import EXACT, make_dataset, task

MESSAGES = [
    {"role": "developer", "content": "Answer in French, “please” & <b>briefly</b>."},
    {"role": "user", "content": "What is 2 + 1?", "name": None},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds <two> & more numbers — “quickly”.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
MARKED = (
    "{{ bos_token }}{% for message in messages %}\n"
    "    {%- if message.role == 'user' %}{% generation %}{{ message.content }}{% endgeneration %}\n"
    "    {% continue %}{% endif %}\n"
    "    {{ message | tojson(indent=2) }}\n"
    "{% endfor %}"
    "{{ tools | tojson if tools else 'none' }}{% if add_generation_prompt %}>{% endif %}"
)


def engine_tokens(folder: Path, tools: list[dict[str, Any]]) -> int:
    """What a rollout of the engine begins with."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    return len(ChatRenderer(tokenizer).prompt_ids(MESSAGES, tools))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The demo's model, to be changed."""
    return Path(shutil.copytree(WEIGHTS, tmp_path / "demo"))


def change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize("tools", [[], [TOOL]])
def test_a_prompt_has_as_many_tokens_as_in_a_rollout(
    folder: Path, tools: list[dict[str, Any]]
) -> None:
    assert prompt_tokens(folder, MESSAGES, tools) == engine_tokens(folder, tools)
    # What it says of blocks, special tokens, loops and JSON is followed as well.
    (folder / "chat_template.jinja").write_text(MARKED)
    start = {"__type": "AddedToken", "content": "<|im_end|>", "special": True}
    change(folder / "tokenizer_config.json", bos_token=start)
    assert prompt_tokens(folder, MESSAGES, tools) == engine_tokens(folder, tools)


def test_templates_by_name_are_chosen_as_in_a_rollout(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    both = [
        {"name": "default", "template": "{{ messages[0].content }}"},
        {"name": "tool_use", "template": "{{ tools | tojson }}"},
    ]
    change(folder / "tokenizer_config.json", chat_template=both)
    counts = [prompt_tokens(folder, MESSAGES, tools) for tools in ([], [TOOL])]
    assert counts == [engine_tokens(folder, tools) for tools in ([], [TOOL])]
    assert counts[0] != counts[1]


def test_limits_that_a_tokenizer_file_brings_along_cut_nothing(folder: Path) -> None:
    whole = prompt_tokens(folder, MESSAGES, [TOOL])
    limit = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    change(folder / "tokenizer.json", truncation=limit)
    assert prompt_tokens(folder, MESSAGES, [TOOL]) == whole == engine_tokens(folder, [TOOL])


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no system messages') }}", "{% if %}", "{{ messages[9].x }}"]
)
def test_a_template_that_refuses_leaves_nothing_to_count(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    assert prompt_tokens(folder, MESSAGES, []) is None


@pytest.fixture
def ask(organisation, alice, settings, tmp_path, folder) -> JobRequest:
    """Rows without tools of their own, for a job with one tool."""
    settings.MEDIA_ROOT = tmp_path / "files"
    model = BaseModel.objects.create(
        name="demo", source=str(folder), folder=str(folder), parameters=1000, context_length=1024
    )
    grader = grader_create(acting_user=alice, organisation=organisation, name="exact", spec=EXACT)
    function = {name: value for name, value in TOOL["function"].items() if name != "name"}
    fields = ToolFields(url="https://tools.example.org/x", **function)
    tool = tool_create(acting_user=alice, organisation=organisation, name="add", fields=fields)
    rows = [task(number) for number in range(12)] + [{"messages": MESSAGES[1:], "answer": "3"}]
    return JobRequest(
        base_model=model.pk,
        train_version=make_dataset(organisation, alice, rows).pk,
        validation_version=make_dataset(organisation, alice, [task(n) for n in range(20, 30)]).pk,
        grader_version=latest_version(grader).pk,
        tool_versions=(tool.pk,),
    )


def said(organisation, request: JobRequest) -> str:
    (check,) = (c for c in job_checks(organisation, request).checks if c.topic == "Length")
    return check.sentence


@pytest.mark.django_db(transaction=True)
def test_the_check_counts_the_template_and_the_job_s_tools(ask, organisation, folder) -> None:
    longest = json.loads(json.dumps(task(10)["messages"]))
    from transformers import AutoTokenizer

    renderer = ChatRenderer(AutoTokenizer.from_pretrained(str(folder)))
    tokens = len(renderer.prompt_ids(longest, [TOOL]))
    assert said(organisation, ask) == (
        f"The longest prompt has {tokens} tokens; with one turn {tokens + 512} of 1024."
    )


@pytest.mark.django_db(transaction=True)
def test_where_it_cannot_be_counted_the_check_says_about(ask, organisation, folder) -> None:
    (folder / "tokenizer.json").unlink()
    assert said(organisation, ask).startswith("The longest prompt has about ")
