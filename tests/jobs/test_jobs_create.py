"""Creating a job: everything is checked together, and what runs is frozen."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from graders.models import GraderVersion
from graders.sandbox import Isolation
from graders.selectors import latest_version
from graders.services import Wanted, fixture_create, typed_sample
from graders.services.authoring import grader_create
from hone.accounts.models import AuditEntry
from hone.tools.services import ToolFields, tool_create
from jobs.errors import JobRefused
from jobs.models import Job, Run
from jobs.selectors import inputs
from jobs.services import here, rows
from jobs.services.checks import job_checks
from jobs.services.create import job_create
from jobs.services.request import JobRequest
from jobs.supervisor.handshake import job_spec
from tests.jobs.conftest import EXACT, make_dataset, make_tool, task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ask(organisation, alice, base_model, settings, tmp_path) -> JobRequest:
    """A request that is in order: 12 training tasks, 10 validation tasks, no tools."""
    settings.MEDIA_ROOT = tmp_path / "files"
    train = make_dataset(organisation, alice, [task(number) for number in range(12)])
    validation = make_dataset(organisation, alice, [task(number) for number in range(20, 30)])
    grader = grader_create(acting_user=alice, organisation=organisation, name="exact", spec=EXACT)
    return JobRequest(
        name="refunds",
        base_model=base_model.pk,
        train_version=train.pk,
        validation_version=validation.pk,
        grader_version=latest_version(grader).pk,
    )


@pytest.fixture
def create(organisation, alice):
    def make(request: JobRequest) -> Job:
        return job_create(acting_user=alice, organisation=organisation, request=request)

    return make


def refusal(create, request: JobRequest) -> list[tuple[str, str, str]]:
    with pytest.raises(JobRefused) as refused:
        create(request)
    assert Job.objects.count() == 0
    return refused.value.problems


def test_a_sound_request_makes_a_queued_job_with_its_run_and_audit_row(create, ask) -> None:
    job = create(ask)
    assert (job.status, job.created_by.email) == ("queued", "alice@example.org")
    assert Run.objects.get(job=job).status == "queued"
    assert AuditEntry.objects.filter(action="job.create", target=job.pk).count() == 1


def test_auto_is_resolved_and_frozen_with_its_reason(create, ask) -> None:
    job = create(replace(ask, hyperparameters={"batch_size": 4, "n_epochs": "auto"}))
    settings = {row["name"]: row for row in job.spec["settings"]}
    assert settings["batch_size"]["reason"] == "You set it; auto was 3."
    assert (settings["n_epochs"]["requested"], settings["n_epochs"]["value"]) == ("auto", 10)
    assert settings["steps"]["value"] == 30
    assert job.total_steps == 30


def test_the_engine_s_spec_is_what_was_frozen(create, ask) -> None:
    job = create(replace(ask, hyperparameters={"group_size": 4, "max_turns": 3}, seed=7))
    spec = job_spec(Run.objects.select_related("job").get(job=job))
    assert (spec.group_size, spec.groups_per_step, spec.seed) == (4, 3, 7)
    assert (spec.budgets.max_turns, spec.budgets.max_tool_calls) == (3, 2)
    assert spec.grader == EXACT
    assert spec.learning_rate == 5e-4


@pytest.mark.parametrize(("is_hub", "shown"), [(True, "acme/base-1b"), (False, "tiny")])
def test_the_engine_is_told_what_the_outside_calls_the_model(
    create, ask, base_model, is_hub, shown
) -> None:
    type(base_model).objects.update(is_hub=is_hub, source="acme/base-1b")
    spec = job_spec(Run.objects.select_related("job").get(job=create(ask)))
    assert (spec.model_name, spec.model_path) == (shown, base_model.folder)


def test_without_a_validation_file_rows_are_held_out(create, ask, organisation, alice) -> None:
    many = make_dataset(organisation, alice, [task(number) for number in range(40)])
    job = create(
        replace(ask, train_version=many.pk, validation_version=None, validation_share=0.25)
    )
    train, validation = (set(job.spec[part]["split_rows"]) for part in ("train", "validation"))
    assert (len(train), len(validation)) == (30, 10)
    assert train | validation == set(range(40))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("batch_size", 0, "batch_size is 0; it must be at least 1, at most 256."),
        ("n_epochs", 51, "n_epochs is 51; it must be at least 1, at most 50."),
        ("n_epochs", 1.5, "n_epochs is 1.5, which is not a whole number"),
        ("eval_samples", "many", "eval_samples is 'many', which is not a whole number"),
        ("learning_rate_multiplier", 0, "learning_rate_multiplier is 0; it must be at least 0.01"),
        ("compute_multiplier", float("nan"), "compute_multiplier is nan, which is not a number"),
        ("reasoning_effort", "huge", "reasoning_effort is 'huge'; use one of default, low"),
        ("batchsize", 4, "batchsize is no hyperparameter. Known are"),
    ],
)
def test_a_value_that_does_not_fit_is_named(create, ask, name, value, sentence) -> None:
    problems = refusal(create, replace(ask, hyperparameters={name: value}))
    assert [field for _, field, _ in problems] == [name]
    assert problems[0][2].startswith(sentence)


def test_a_split_that_leaves_too_few_rows_is_refused(create, ask) -> None:
    problems = refusal(create, replace(ask, validation_version=None, validation_share=0.25))
    assert [code for code, _, _ in problems] == ["too_few_rows", "too_few_rows"]
    assert problems[0][2].endswith(
        "gives 9 rows here; at least 10 are needed. A file of 12 rows cannot be split: choose a "
        "validation file, or upload at least 20 rows."
    )


@pytest.mark.parametrize(
    ("rows", "way"), [(20, "a share of 0.5,"), (24, "a share of 0.42 to 0.58,")]
)
def test_a_share_that_holds_out_too_little_is_told_what_would_do(
    create, ask, organisation, alice, rows, way
) -> None:
    train = make_dataset(organisation, alice, [task(number) for number in range(rows)])
    wanted = replace(ask, train_version=train.pk, validation_version=None, validation_share=0.05)
    problems = refusal(create, wanted)
    assert [code for code, _, _ in problems] == ["too_few_rows"]
    assert problems[0][2].endswith(
        f"gives 1 row here; at least 10 are needed. Hold out {way} or choose a validation file."
    )


def test_a_row_s_tool_that_is_not_chosen_is_refused_with_the_closest_name(
    create, ask, organisation, alice
) -> None:
    tool = make_tool(organisation, alice, "search_policy")
    wrong = {"type": "function", "function": {"name": "search_polciy", "parameters": {}}}
    rows = [task(number) for number in range(16)] + [task(99, tools=[wrong])]
    train = make_dataset(organisation, alice, rows)
    validation = make_dataset(organisation, alice, [task(number) for number in range(20, 30)])
    problems = refusal(
        create,
        replace(
            ask,
            train_version=train.pk,
            validation_version=validation.pk,
            tool_versions=(tool.pk,),
        ),
    )
    assert problems == [
        (
            "tool_unknown",
            "tool_versions",
            "Row 17 names the tool `search_polciy`, which is not chosen. The closest name is "
            "`search_policy`. Mend the row, or choose the tool.",
        )
    ]


def test_a_variable_that_rows_lack_is_refused_with_the_keys_they_have(
    create, ask, organisation, alice
) -> None:
    spec = {**EXACT, "reference": "{{item.truth}}"}
    grader = grader_create(acting_user=alice, organisation=organisation, name="x", spec=spec)
    problems = refusal(create, replace(ask, grader_version=latest_version(grader).pk))
    assert [code for code, _, _ in problems] == ["grader_variable", "grader_variable"]
    assert (
        "`{{item.truth}}` is missing in 12 of 12 rows. Keys present: answer, messages"
        in (problems[0][2])
    )


def test_what_no_rollout_would_have_is_refused(ask, organisation, alice) -> None:
    """A trial shows `output_json` of any JSON answer, but a job needs a response format for it."""
    spec = {**EXACT, "input": "{{sample.output_json.a}}", "reference": "{{sample.output_audio}}"}
    grader = grader_create(acting_user=alice, organisation=organisation, name="x", spec=spec)
    request = replace(ask, grader_version=latest_version(grader).pk)
    audio, answer = [each.sentence for each in job_checks(organisation, request).problems]
    assert answer == (
        "No rollout would have `{{sample.output_json.a}}`: the job has no response format. Use "
        '`{{sample.output_text}}`, or a Python grader that reads json.loads(sample["output_text"]).'
    )
    formatted = replace(request, response_format={"type": "json_schema"})
    assert [each.sentence for each in job_checks(organisation, formatted).problems] == [audio]
    assert "`{{sample.output_audio}}`: rollouts are text" in audio


def test_validation_rows_that_are_training_rows_are_refused(create, ask) -> None:
    problems = refusal(create, replace(ask, validation_version=ask.train_version))
    assert [code for code, _, _ in problems] == ["overlap"]
    assert problems[0][2].startswith("12 of 12 validation rows are training rows too")


@pytest.mark.parametrize(("twice", "state"), [(1, "warning"), (12, "problem")])
def test_rows_held_out_of_a_file_with_few_repeats_only_warn(
    organisation, alice, ask, twice, state
) -> None:
    tasks = [task(number) for number in range(24)]
    version = make_dataset(organisation, alice, [*tasks, *tasks[:twice]])
    request = replace(ask, train_version=version.pk, validation_version="", validation_share=0.5)
    found = [check for check in job_checks(organisation, request).checks if check.code == "overlap"]
    assert [check.state for check in found] == [state]


def test_a_prompt_that_fills_the_budget_is_refused(create, ask) -> None:
    problems = refusal(create, replace(ask, hyperparameters={"max_total_tokens": 16}))
    assert [code for code, _, _ in problems] == ["prompt_too_long"]


def test_a_model_that_is_not_ready_is_refused(create, ask, base_model) -> None:
    type(base_model).objects.update(status="downloading", message="File 2 of 5.")
    problems = refusal(create, ask)
    assert problems[0][2] == "tiny is being downloaded. File 2 of 5."


def test_all_problems_come_together(create, ask, base_model) -> None:
    type(base_model).objects.update(status="failed", message="It is gated.")
    request = replace(
        ask, seed=-1, metadata={"k" * 65: "v"}, hyperparameters={"batch_size": 0, "steps": 0}
    )
    fields = [field for _, field, _ in refusal(create, request)]
    assert fields == ["base_model", "batch_size", "steps", "seed", "metadata"]


@pytest.mark.parametrize(
    "field", ["base_model", "train_version", "validation_version", "grader_version"]
)
def test_an_absent_id_is_refused(create, ask, field: str) -> None:
    problems = refusal(create, replace(ask, **{field: 10**6}))
    assert (problems[0][0], problems[0][1]) == (f"{field}_unknown", field)


def test_another_organisation_s_rows_are_as_absent_ones(create, ask, charlie) -> None:
    from hone.accounts.models import Organisation

    elsewhere = Organisation.objects.get(memberships__user=charlie)
    foreign = make_dataset(elsewhere, charlie)
    absent = refusal(create, replace(ask, train_version=10**6))
    assert refusal(create, replace(ask, train_version=foreign.pk)) == absent


def test_a_viewer_creates_nothing(ask, organisation, dora) -> None:
    with pytest.raises(PermissionDenied):
        job_create(acting_user=dora, organisation=organisation, request=ask)


def test_the_checks_of_a_sound_request_are_all_in_order(ask, organisation) -> None:
    checked = job_checks(organisation, ask)
    assert {check.state for check in checked.checks} == {"ok"}
    topics: list[Any] = [check.topic for check in checked.checks]
    assert topics.index("Base model") < topics.index("Tasks") < topics.index("Overlap")


def sentences(organisation, request: JobRequest, topic: str) -> list[tuple[str, str]]:
    checks = job_checks(organisation, request).checks
    return [(check.state, check.sentence) for check in checks if check.topic == topic]


def tool_at(organisation, alice, name: str, url: str) -> str:
    return tool_create(
        acting_user=alice, organisation=organisation, name=name, fields=ToolFields(url=url)
    ).pk


def test_a_tool_whose_address_may_not_be_called_is_a_problem_until_the_operator_allows_it(
    ask, organisation, alice, settings
) -> None:
    settings.OUTBOUND_ALLOW = ("127.0.0.1:8765",)
    tool = tool_at(organisation, alice, "refund", "http://127.0.0.1:8765/refund")
    request = replace(ask, tool_versions=(tool,))
    assert ("ok", "Every tool's address may be called.") in sentences(
        organisation, request, "Tools"
    )
    settings.OUTBOUND_ALLOW = ()
    assert (
        "problem",
        "`refund` at http://127.0.0.1:8765/refund: This address may not be called from here. Ask "
        "the operator to allow it with HONE_OUTBOUND_ALLOW, or use a public address.",
    ) in sentences(organisation, request, "Tools")


def test_a_name_is_looked_up_once_for_all_tools_and_checks(
    ask, organisation, alice, monkeypatch
) -> None:
    asked: list[str] = []

    def look_up(host: str, port: int) -> tuple[IPv4Address, ...]:
        asked.append(host)
        return (IPv4Address("93.184.215.14"),)

    monkeypatch.setattr(here, "_look_up", look_up)
    tools = tuple(
        tool_at(organisation, alice, name, f"https://once.example.org/{name}")
        for name in ("refund", "search")
    )
    for _ in range(2):
        assert sentences(organisation, replace(ask, tool_versions=tools), "Tools")[-1] == (
            "ok",
            "Every tool's address may be called.",
        )
    assert asked == ["once.example.org"]


def test_a_name_that_is_not_known_is_a_warning(ask, organisation, alice, monkeypatch) -> None:
    def look_up(host: str, port: int) -> tuple[IPv4Address, ...]:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(here, "_look_up", look_up)
    tool = tool_at(organisation, alice, "refund", "https://unknown.example.org/refund")
    assert sentences(organisation, replace(ask, tool_versions=(tool,)), "Tools")[-1] == (
        "warning",
        "`refund`: the host name unknown.example.org is not known here, so calls may fail. Check "
        "the tool's URL.",
    )


PYTHON = {"type": "python", "name": "own", "source": "def grade(sample, item):\n    return 1.0\n"}
INSIDE = {"type": "multi", "graders": {"own": PYTHON}, "calculate_output": "own"}


@pytest.mark.parametrize("spec", [PYTHON, INSIDE, {**INSIDE, "graders": [PYTHON]}])
@pytest.mark.parametrize(
    ("level", "wanted"),
    [
        ("none", ("problem", "Its Python cannot be isolated here. Install bubblewrap.")),
        ("lockdown", ("ok", "Its Python runs isolated: lockdown.")),
    ],
)
def test_a_python_grader_needs_a_place_that_isolates_it(
    ask, organisation, alice, monkeypatch, level, wanted, spec
) -> None:
    grader = grader_create(acting_user=alice, organisation=organisation, name="own", spec=spec)
    request = replace(ask, grader_version=latest_version(grader).pk)
    monkeypatch.setattr(here, "probe", lambda: Isolation(level, "Install bubblewrap."))
    assert wanted in sentences(organisation, request, "Grader")
    plain = sentences(organisation, ask, "Grader")
    assert [sentence for _, sentence in plain if "isolated" in sentence] == []


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("tokenizer_config.json", '{"chat_template": "{{ messages }}"}', True),
        ("chat_template.json", '{"chat_template": "{{ messages }}"}', True),
        ("tokenizer_config.json", '{"eos_token": "</s>"}', False),
        ("tokenizer_config.json", "[]", False),
    ],
)
def test_a_model_without_a_chat_template_is_a_problem(
    ask, organisation, base_model, name, content, found
) -> None:
    folder = Path(base_model.folder)
    (folder / "chat_template.jinja").unlink()
    (folder / name).write_text(content)
    told = (
        "problem",
        "tiny has no chat template, so conversations with tools cannot be written for it. Choose "
        "an instruction-tuned model.",
    )
    assert (told in sentences(organisation, ask, "Base model")) is not found


def test_rows_are_read_again_only_where_what_is_looked_for_differs(
    ask, organisation, alice, monkeypatch
) -> None:
    rows.scanned.cache_clear()
    read: list[str] = []
    items = inputs.dataset_items

    def counted(version):
        read.append(version.pk)
        return items(version)

    monkeypatch.setattr(inputs, "dataset_items", counted)
    first = job_checks(organisation, ask)
    assert job_checks(organisation, replace(ask, name="other", seed=7)).checks == first.checks
    assert len(read) == 2
    tool = make_tool(organisation, alice, "refund").pk
    job_checks(organisation, replace(ask, tool_versions=(tool,)))
    assert len(read) == 4


def test_a_grader_whose_fixtures_fail_is_a_warning_and_no_problem(ask, organisation, alice) -> None:
    grader = GraderVersion.objects.get(pk=ask.grader_version).grader

    def keep(name: str, score: float) -> None:
        fixture_create(
            acting_user=alice,
            grader=grader,
            wanted=Wanted(name, score, score),
            sample=typed_sample("4"),
            item={"answer": "4"},
        )

    keep("right", 1)
    assert ("ok", "1 of 1 fixtures get their score.") in sentences(organisation, ask, "Grader")
    keep("wrong on purpose", 0)
    said = dict(sentences(organisation, ask, "Grader"))
    assert said["warning"] == (
        f"1 of 2 fixtures of {grader.name} v1 do not get the score that they must get; “wrong on "
        "purpose” gets 1.000. Mend the grader, or see why it was saved."
    )
    assert job_checks(organisation, ask).may_start
