"""Credit of a job: what is asked, checked, frozen, and told to the engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from graders.models import GraderVersion
from graders.sandbox import Isolation
from graders.selectors import latest_version
from graders.services.authoring import grader_create
from hone.tools.services import ToolFields, tool_create
from jobs.engine.spec import (
    CounterfactualSpec,
    CreditSpec,
    JobSpec,
    LengthSpec,
    LoraSpec,
    LossSpec,
    ServerSpec,
    TurnRewardSpec,
)
from jobs.models import Job, Run
from jobs.selectors.engine_fields import engine_fields
from jobs.services import here
from jobs.services.checks import job_checks
from jobs.services.create import job_create
from jobs.services.lease import run_acquire
from jobs.services.request import JobRequest
from jobs.supervisor.handshake import handshake_build, job_spec
from tests.jobs.conftest import EXACT, make_dataset, task

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = {**EXACT, "operation": "like"}
PYTHON = {"type": "python", "name": "own", "source": "def grade(sample, item):\n    return 1.0\n"}


@pytest.fixture
def grader(organisation, alice):
    def make(name: str, spec: dict[str, Any] = OTHER) -> GraderVersion:
        made = grader_create(acting_user=alice, organisation=organisation, name=name, spec=spec)
        version = latest_version(made)
        assert version is not None
        return version

    return make


@pytest.fixture
def ask(organisation, alice, base_model, settings, tmp_path, grader) -> JobRequest:
    """A request that is in order: 12 training tasks, 10 validation tasks, no tools."""
    settings.MEDIA_ROOT = tmp_path / "files"
    train = make_dataset(organisation, alice, [task(number, hint="a") for number in range(12)])
    validation = make_dataset(organisation, alice, [task(number) for number in range(20, 30)])
    return JobRequest(
        base_model=base_model.pk,
        train_version=train.pk,
        validation_version=validation.pk,
        grader_version=grader("exact", EXACT).pk,
    )


@pytest.fixture
def create(organisation, alice):
    def make(request: JobRequest) -> Job:
        return job_create(acting_user=alice, organisation=organisation, request=request)

    return make


def spec_of(job: Job) -> JobSpec:
    return job_spec(Run.objects.select_related("job").get(job=job))


def said(organisation, request: JobRequest) -> list[tuple[str, str, str, str]]:
    """All that is not in order."""
    return [
        (check.state, check.code, check.field, check.sentence)
        for check in job_checks(organisation, request).checks
        if check.state != "ok"
    ]


def test_flat_names_become_the_engine_s_structures() -> None:
    flat = {
        "steps": 5,
        "lora_rank": 4,
        "lora_alpha": 8,
        "loss": "gspo",
        "ratio_max": 3.0,
        "kl_weight": 0.1,
        "advantage": "rloo",
        "anchored_weight": 1.0,
        "credit_gamma": 0.9,
        "turn_weight": 0.5,
        "counterfactual_calls": 6,
        "counterfactual_continuations": 3,
        "counterfactual_weight": 0.2,
        "reasoning_penalty": 0.1,
        "call_penalty": 0.2,
        "call_budget": 7,
    }
    assert engine_fields(flat, {"gold": "{{item.answer}}"}) == {
        "steps": 5,
        "lora": LoraSpec(4, 8),
        "loss": LossSpec("gspo", 3.0, 0.1),
        "credit": CreditSpec(
            advantage="rloo",
            anchored_weight=1.0,
            gamma=0.9,
            turn_rewards=TurnRewardSpec(weight=0.5, gold="{{item.answer}}"),
            counterfactual=CounterfactualSpec(weight=0.2, continuations=3, calls_per_step=6),
            length=LengthSpec(reasoning_penalty=0.1, call_penalty=0.2, call_budget=7),
        ),
    }


def test_what_an_older_job_lacks_has_the_engine_s_default() -> None:
    old = {"steps": 5, "lora_rank": 8, "lora_alpha": 16, "loss": "cispo", "ratio_max": 5.0}
    assert engine_fields(old) == {
        "steps": 5,
        "lora": LoraSpec(8, 16),
        "loss": LossSpec(),
        "credit": CreditSpec(),
    }


def test_no_calls_to_measure_are_no_continuations() -> None:
    fields = engine_fields({"counterfactual_calls": 0, "counterfactual_continuations": 4})
    assert fields["credit"].counterfactual is None


@pytest.mark.parametrize("name", ["lora", "credit", "server", "old_option"])
def test_a_name_that_is_not_flat_or_not_known_is_a_type_error(name: str) -> None:
    told = {"run_id": "r", "model_path": "m", "train": None, "validation": None, "grader": {}}
    with pytest.raises(TypeError):
        JobSpec(**told, server=None, **engine_fields({name: {}}))


def test_a_job_without_any_of_it_is_told_as_before(create, ask) -> None:
    job = create(ask)
    assert (job.spec["turn_rewards"], job.spec["held_out_grader"]) == (None, None)
    spec = spec_of(job)
    assert (spec.credit.turn_rewards, spec.held_out_grader, spec.server) == (None, None, None)
    assert spec.credit == CreditSpec(length=LengthSpec(call_budget=4))


def test_graders_are_frozen_whole_so_that_deleting_them_changes_nothing(
    create, ask, grader
) -> None:
    turn, held_out = grader("turns"), grader("watch", {**EXACT, "operation": "ilike"})
    request = replace(
        ask,
        turn_grader=turn.pk,
        held_out_grader=held_out.pk,
        hyperparameters={"turn_weight": 0.5},
    )
    job = create(request)
    assert job.spec["turn_rewards"] == {
        "grader": {"name": "turns v1", "version": turn.pk, "sha256": turn.sha256, "spec": OTHER}
    }
    for version in (turn, held_out):
        version.delete()
    spec = spec_of(job)
    assert spec.credit.turn_rewards == TurnRewardSpec(weight=0.5, grader=OTHER)
    assert spec.held_out_grader == {**EXACT, "operation": "ilike"}


def test_a_gold_answer_is_told_as_its_template(create, ask) -> None:
    job = create(replace(ask, gold_answer=" {{item.answer}} "))
    assert job.spec["turn_rewards"] == {"gold": "{{item.answer}}"}
    assert spec_of(job).credit.turn_rewards == TurnRewardSpec(gold="{{item.answer}}")


def test_jobs_from_before_lack_the_keys_and_run(make_job) -> None:
    job = make_job()
    assert {"turn_rewards", "held_out_grader"} & job.spec.keys() == set()
    assert spec_of(job).credit == CreditSpec()


def test_a_turn_grader_and_a_gold_answer_exclude_each_other(organisation, ask, grader) -> None:
    both = replace(ask, turn_grader=grader("turns").pk, gold_answer="{{item.answer}}")
    assert said(organisation, both) == [
        (
            "problem",
            "turn_rewards_both",
            "gold_answer",
            "Turns are scored by a grader, by a judge or by the gold answer, by one of them only. "
            "Leave the others out.",
        )
    ]


@pytest.mark.parametrize(
    ("field", "topic"), [("turn_grader", "turn grader"), ("held_out_grader", "held-out grader")]
)
def test_an_absent_grader_is_refused_at_its_field(organisation, ask, field, topic) -> None:
    assert said(organisation, replace(ask, **{field: 10**6})) == [
        (
            "problem",
            f"{field}_unknown",
            field,
            f"Choose a {topic}: there is none with the id that was sent.",
        )
    ]


def test_another_organisation_s_grader_is_as_an_absent_one(organisation, ask, charlie) -> None:
    from hone.accounts.models import Organisation

    elsewhere = Organisation.objects.get(memberships__user=charlie)
    made = grader_create(acting_user=charlie, organisation=elsewhere, name="theirs", spec=OTHER)
    foreign = latest_version(made)
    assert foreign is not None
    for field in ("turn_grader", "held_out_grader"):
        absent = said(organisation, replace(ask, **{field: 10**6}))
        assert said(organisation, replace(ask, **{field: foreign.pk})) == absent


@pytest.mark.parametrize("field", ["turn_grader", "held_out_grader"])
def test_a_grader_s_variables_are_looked_for_in_the_rows_that_it_reads(
    organisation, ask, grader, field
) -> None:
    """Training rows have a hint, validation rows have none; the held-out grader sees only these."""
    hint = grader("hint", {**EXACT, "reference": "{{item.hint}}"})
    (problem,) = said(organisation, replace(ask, **{field: hint.pk}))
    assert problem == (
        "problem",
        "grader_variable",
        field,
        "`{{item.hint}}` is missing in 10 of 10 rows. Keys present: answer, messages. Use one of "
        "these, or add it to the rows.",
    )
    truth = grader("truth", {**EXACT, "reference": "{{item.truth}}"})
    found = said(organisation, replace(ask, **{field: truth.pk}))
    assert len(found) == (2 if field == "turn_grader" else 1)


def test_a_turn_grader_that_no_rollout_could_feed_is_refused(organisation, ask, grader) -> None:
    reads = grader("json", {**EXACT, "input": "{{sample.output_json.a}}"})
    ((state, code, field, sentence),) = said(organisation, replace(ask, turn_grader=reads.pk))
    assert (state, code, field) == ("problem", "grader_variable", "turn_grader")
    assert sentence.startswith("No rollout would have `{{sample.output_json.a}}`")


def test_the_place_of_a_turn_is_for_a_turn_grader_alone(organisation, ask, grader) -> None:
    place = grader("place", {**EXACT, "input": "{{sample.turn.index}}"}).pk
    assert said(organisation, replace(ask, turn_grader=place)) == []
    ((state, code, field, sentence),) = said(organisation, replace(ask, grader_version=place))
    assert (state, code, field) == ("problem", "grader_variable", "grader_version")
    assert sentence == (
        "No rollout would have `{{sample.turn.index}}`: only a turn grader is given turns. Choose "
        "it as turn grader, or use `{{sample.output_text}}`."
    )


def test_a_python_turn_grader_needs_a_place_that_isolates_it(
    organisation, ask, grader, monkeypatch
) -> None:
    monkeypatch.setattr(here, "probe", lambda: Isolation("none", "Install bubblewrap."))
    assert said(organisation, replace(ask, turn_grader=grader("own", PYTHON).pk)) == [
        (
            "problem",
            "sandbox_unavailable",
            "turn_grader",
            "Its Python cannot be isolated here. Install bubblewrap.",
        )
    ]


@pytest.mark.parametrize(
    ("gold", "code", "start"),
    [
        ("{{item.answer", "gold_invalid", "It cannot be read: '{{item.answer' opens a variable"),
        (
            "{{sample.output_text}}",
            "gold_invalid",
            "`{{sample.output_text}}` is of an attempt, and the gold answer is known before one.",
        ),
        ("item.answer", "gold_invalid", "It has no variable, so it would be the same for every"),
        ("{{item.hint}}", "grader_variable", "`{{item.hint}}` is missing in 10 of 10 rows."),
    ],
)
def test_a_gold_answer_that_rows_cannot_give_is_refused(
    organisation, ask, gold, code, start
) -> None:
    ((state, found, field, sentence),) = said(organisation, replace(ask, gold_answer=gold))
    assert (state, found, field) == ("problem", code, "gold_answer")
    assert sentence.startswith(start)


def test_an_empty_gold_answer_names_its_row(organisation, ask, alice) -> None:
    rows = [task(number) for number in range(12)]
    rows[4]["answer"] = " "
    train = make_dataset(organisation, alice, rows)
    gold = replace(ask, train_version=train.pk, gold_answer="{{item.answer}}")
    assert said(organisation, gold) == [
        (
            "problem",
            "gold_empty",
            "gold_answer",
            "It is empty in 1 of 12 rows, the first is row 5. Use another key, or mend the rows.",
        )
    ]


def test_a_held_out_grader_that_is_the_grader_is_a_warning(organisation, ask) -> None:
    assert said(organisation, replace(ask, held_out_grader=ask.grader_version)) == [
        (
            "warning",
            "held_out_same",
            "held_out_grader",
            "The held-out grader is the grader that is trained on, so the two can never disagree. "
            "Choose another, or none.",
        )
    ]


def test_a_weight_of_turn_scores_without_scores_is_a_warning(organisation, ask, grader) -> None:
    weighed = replace(ask, hyperparameters={"turn_weight": 2})
    assert said(organisation, weighed) == [
        (
            "warning",
            "no_effect",
            "turn_weight",
            "turn_weight is 2.0 and has no effect: nothing scores turns. Choose a turn "
            "grader or a judge, give a gold answer, or leave turn_weight at auto.",
        )
    ]
    assert said(organisation, replace(weighed, turn_grader=grader("turns").pk)) == []
    idle = replace(ask, gold_answer="{{item.answer}}", hyperparameters={"turn_weight": 0})
    assert said(organisation, idle) == [
        (
            "warning",
            "no_effect",
            "turn_weight",
            "Turns are scored and nothing is trained on the scores: turn_weight is 0.",
        )
    ]


def continuation_warnings(organisation, ask: JobRequest, tools: list[str]) -> list[str]:
    request = replace(ask, tool_versions=tuple(tools), hyperparameters={"counterfactual_calls": 4})
    found = said(organisation, request)
    return [sentence for _, code, _, sentence in found if code == "no_effect"]


def test_continuations_need_a_tool_that_they_may_call(organisation, ask, alice) -> None:
    def tool(name: str, effects: str) -> str:
        fields = ToolFields(url="https://93.184.215.14/x", effects=effects)
        made = tool_create(acting_user=alice, organisation=organisation, name=name, fields=fields)
        return str(made.pk)

    reads, writes = tool("look_up", "reads"), tool("refund", "writes")
    assert continuation_warnings(organisation, ask, []) == [
        "No tools are chosen, so there is no call whose effect could be measured."
    ]
    assert continuation_warnings(organisation, ask, [writes]) == [
        "Every chosen tool writes, so hardly any call can be measured: continuations call only "
        "tools declared without side effects, and take other replies from the record."
    ]
    assert continuation_warnings(organisation, ask, [reads, writes]) == []
    both = replace(ask, tool_versions=(reads, writes), hyperparameters={"counterfactual_calls": 4})
    sentences = [check.sentence for check in job_checks(organisation, both).checks]
    assert "Continuations really call look_up: declared not to write." in sentences


def test_the_operator_s_sampling_server_reaches_the_engine_and_its_key_the_pipe_alone(
    create, ask, settings
) -> None:
    job = create(ask)
    settings.SAMPLER_KEY = "unused"
    lease = run_acquire(Run.objects.get(job=job).pk, holder="test", host="here")
    assert lease is not None
    assert (handshake_build(lease).spec.server, handshake_build(lease).sampler_key) == (None, "")
    settings.SAMPLER_URL, settings.SAMPLER_DIALECT = "http://10.1.2.3:8000", "sglang"
    settings.SAMPLER_KEY = "secret"
    told = handshake_build(lease)
    assert told.spec.server == ServerSpec(base_url="http://10.1.2.3:8000", dialect="sglang")
    assert told.sampler_key == "secret"
