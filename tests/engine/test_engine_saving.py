"""Which checkpoints stay, and which a run may go on from."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from jobs.engine.control import ControlReader
from jobs.engine.errors import RunFailed
from jobs.engine.learning.checkpoint import CheckpointCorrupt
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.update import Learner
from jobs.engine.saving import Saver, config_hash
from jobs.engine.spec import Control, DataSpec, Handshake, JobSpec, LoraSpec, ResumePoint, ToolSpec


def make_spec(model_dir, **changes):
    data = DataSpec(path="tasks.jsonl")
    fields = {"train": data, "validation": data, "grader": {}, "lora": LoraSpec(rank=2), "steps": 9}
    return JobSpec(run_id="r", model_path=str(model_dir), device="cpu", **(fields | changes))


@pytest.fixture(scope="module")
def policy(tiny_model_dir):
    return load_policy(make_spec(tiny_model_dir))


@pytest.fixture
def make_saver(tiny_model_dir, policy, tmp_path):
    def make(control=None, *, warn=print, changes=None, **handshake):
        spec = make_spec(tiny_model_dir, **(changes or {}))
        shake = Handshake(spec=spec, run_dir=str(tmp_path), **handshake)
        learner = Learner(policy, spec, loss_named(spec.loss.name))
        return Saver(shake, learner, control or ControlReader(None), warn)

    return make


def run_steps(saver, rewards, control=None):
    """Save one checkpoint a step; each is committed before the next one begins."""
    state = saver.begin()
    refs = []
    for step, reward in enumerate(rewards):
        evaluations = state.evaluations
        if reward is not None:
            evaluations = {**evaluations, str(step): reward}
        state = msgspec.structs.replace(state, step=step, evaluations=evaluations)
        refs.append(saver.save(state, reward))
        saver.tidy(state)
        if control is not None:
            control.obey(Control("run", committed=step))
    return state, refs


def left(tmp_path):
    return sorted(int(path.name[5:]) for path in (tmp_path / "checkpoints").iterdir())


def test_the_three_best_and_the_newest_two_stay(make_saver, tmp_path):
    control = ControlReader(None)
    saver = make_saver(control)
    rewards = [0.1, 0.9, None, 0.3, 0.9, 0.2, None, 0.5, None]
    state, refs = run_steps(saver, rewards, control)
    # Of the two steps with 0.9 the later one is the better.
    assert saver.kept(state) == (4, 1, 7)
    assert left(tmp_path) == [1, 4, 7, 8]
    assert [ref.validation_reward for ref in refs] == rewards
    assert refs[4].path == "checkpoints/step-000004"


def test_the_job_says_how_many_are_kept(make_saver, tmp_path):
    control = ControlReader(None)
    saver = make_saver(control, changes={"keep_checkpoints": 1})
    state, _ = run_steps(saver, [0.5, 0.4, 0.3, 0.2], control)
    assert saver.kept(state) == (0,)
    assert left(tmp_path) == [0, 2, 3]


def test_nothing_after_the_last_commit_goes(make_saver, tmp_path):
    control = ControlReader(None)
    control.obey(Control("run", committed=1))
    run_steps(make_saver(control), [None] * 6)
    assert left(tmp_path) == [1, 2, 3, 4, 5]


def test_a_resumed_run_has_the_state_that_was_saved(make_saver, tmp_path):
    state, refs = run_steps(make_saver(), [0.5, None, 0.7])
    (tmp_path / "checkpoints" / "step-000003").mkdir()
    point = ResumePoint(2, refs[2].path, refs[2].manifest_sha256)
    assert make_saver(resume=point, last_step=2).begin() == state
    assert left(tmp_path) == [0, 1, 2]


def test_a_done_step_without_a_checkpoint_is_never_started_again_from_nothing(make_saver):
    with pytest.raises(RunFailed) as failed:
        make_saver(last_step=4).begin()
    assert failed.value.code == "checkpoint_missing"
    assert "step 4" in failed.value.text


@pytest.mark.parametrize(
    "changes",
    [{"lora": LoraSpec(rank=4)}, {"seed": 7}, {"learning_rate": 1.0}, {"grader": {"a": 1}}],
)
def test_a_checkpoint_of_another_job_is_refused(make_saver, changes):
    _, refs = run_steps(make_saver(), [0.5])
    point = ResumePoint(0, refs[0].path, refs[0].manifest_sha256)
    with pytest.raises(RunFailed, match="belongs to another job") as failed:
        make_saver(changes=changes, resume=point, last_step=0).begin()
    assert failed.value.code == "checkpoint_mismatch"


def test_the_best_checkpoint_is_the_one_that_is_exported(make_saver):
    saver = make_saver()
    state, _ = run_steps(saver, [0.1, 0.9, 0.4])
    assert saver.load_best(state) == 1


def test_a_damaged_best_checkpoint_gives_way_to_the_next_best_and_it_is_said(make_saver, tmp_path):
    said = []
    saver = make_saver(warn=lambda *line: said.append(line))
    state, _ = run_steps(saver, [0.1, 0.9, 0.4])
    path = tmp_path / "checkpoints" / "step-000001" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert saver.load_best(state) == 2
    assert (tmp_path / "checkpoints" / "step-000001.corrupt").is_dir()
    assert said == [
        (
            "checkpoint_corrupt",
            "The checkpoint of step 1, the best so far, is damaged (adapter_model.safetensors) "
            "and was set aside. The next best one takes its place.",
        )
    ]


def test_a_checkpoint_that_was_replaced_whole_is_not_exported(make_saver, tmp_path):
    saver = make_saver()
    state, _ = run_steps(saver, [0.1, 0.9])
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder / "step-000001")
    shutil.copytree(folder / "step-000000", folder / "step-000001")
    assert saver.load_best(state) == 0


def test_without_a_sound_checkpoint_nothing_is_exported(make_saver, tmp_path):
    saver = make_saver()
    state, _ = run_steps(saver, [0.1])
    (tmp_path / "checkpoints" / "step-000000" / "MANIFEST.json").unlink()
    with pytest.raises(CheckpointCorrupt, match="MANIFEST"):
        saver.load_best(state)


def test_a_run_may_move_and_may_go_on_for_longer(tiny_model_dir):
    tool = ToolSpec(name="ask", url="http://a/")
    moved = ToolSpec(name="ask", url="http://b/")
    here = make_spec(tiny_model_dir, tools=(tool,))
    there = make_spec("/elsewhere", tools=(moved,), steps=90, train=DataSpec(path="/other.jsonl"))
    assert config_hash(here) == config_hash(there)
