"""A fork's first model is the checkpoint that it was made from, to the last bit, or no model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from jobs.engine.control import ControlReader
from jobs.engine.errors import RunFailed
from jobs.engine.export import make_proof
from jobs.engine.learning.checkpoint import ADAPTER, read_checked
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.update import Learner
from jobs.engine.saving import Saver, config_hash
from jobs.engine.spec import AdapterStart, Control, DataSpec, Handshake, JobSpec, LoraSpec
from jobs.engine.wiring import make_policy


def make_spec(model_dir, **lora):
    data = DataSpec(path="tasks.jsonl")
    return JobSpec(
        run_id="r",
        model_path=str(model_dir),
        device="cpu",
        train=data,
        validation=data,
        grader={},
        lora=LoraSpec(**({"rank": 2, "alpha": 4} | lora)),
    )


@pytest.fixture(scope="module")
def source(tiny_model_dir, tmp_path_factory):
    """A trained policy and the start that its checkpoint is for a fork."""
    folder = tmp_path_factory.mktemp("source")
    spec = make_spec(tiny_model_dir)
    policy = load_policy(spec)
    generator = torch.Generator().manual_seed(5)
    for _, parameter in policy.trainable:
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    learner = Learner(policy, spec, loss_named("cispo"))
    shake = Handshake(spec=spec, run_dir=str(folder))
    saver = Saver(shake, learner, ControlReader(None), print)
    ref = saver.save(msgspec.structs.replace(saver.begin(), step=20), 0.61)
    start = AdapterStart(ref.manifest_sha256, "ftjob-1", 20, str(folder / ref.path))
    return policy, start


def logprobs(policy, member):
    shake = Handshake(spec=make_spec("nowhere"), run_dir="")
    (case,) = make_proof(shake, policy, [member])["trajectories"]
    return torch.tensor(case["logprobs"])


def test_a_forks_first_log_probabilities_are_the_checkpoints(
    source, tiny_model_dir, make_trajectory
):
    policy, start = source
    member = make_trajectory(tokens=40, ids=[(17 * place) % 90 for place in range(41)])
    fork = make_policy(make_spec(tiny_model_dir, start=start))
    base = load_policy(make_spec(tiny_model_dir))
    wanted, found = logprobs(policy, member), logprobs(fork, member)
    assert len(wanted) == 40
    assert (found - wanted).abs().max().item() == 0.0
    assert (found - logprobs(base, member)).abs().max().item() > 0.01


def test_a_forks_optimiser_and_its_count_of_steps_begin_anew(source, tiny_model_dir, tmp_path):
    _, start = source
    spec = make_spec(tiny_model_dir, start=start)
    learner = Learner(make_policy(spec), spec, loss_named("cispo"))
    shake = Handshake(spec=spec, run_dir=str(tmp_path))
    state = Saver(shake, learner, ControlReader(None), print).begin()
    assert (state.step, state.updates, state.evaluations) == (-1, 0, {})
    assert not any(tensor.any() for tensor in learner.optimiser_tensors().values())


@pytest.mark.parametrize(("shape", "words"), [({"rank": 4}, "rank 2"), ({"alpha": 8}, "alpha 4")])
def test_a_checkpoint_of_another_shape_is_refused(source, tiny_model_dir, shape, words):
    _, start = source
    with pytest.raises(RunFailed, match=words) as failed:
        make_policy(make_spec(tiny_model_dir, start=start, **shape))
    assert failed.value.code == "start_mismatch"


def test_a_changed_checkpoint_is_refused_and_left_as_it_is(source, tiny_model_dir, tmp_path):
    _, start = source
    for name, data in read_checked(Path(start.path), None).items():
        (tmp_path / name).write_bytes(data)
    manifest = Path(start.path) / "MANIFEST.json"
    (tmp_path / "MANIFEST.json").write_bytes(manifest.read_bytes())
    (tmp_path / ADAPTER).write_bytes(b"other")
    moved = msgspec.structs.replace(start, path=str(tmp_path))
    with pytest.raises(RunFailed, match="step 20 of ftjob-1") as failed:
        make_policy(make_spec(tiny_model_dir, start=moved))
    assert failed.value.code == "start_unusable"
    assert (tmp_path / ADAPTER).read_bytes() == b"other"


def test_a_checkpoint_of_another_base_model_is_refused(source, tiny_model_dir, tmp_path):
    _, start = source
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(RunFailed, match="another base model"):
        make_policy(make_spec(folder, start=start))


def test_where_the_checkpoint_lies_does_not_matter_for_going_on_and_which_it_is_does(
    source, tiny_model_dir
):
    _, start = source

    def hashed(**changes):
        begun = msgspec.structs.replace(start, **changes)
        return config_hash(make_spec(tiny_model_dir, start=begun))

    assert hashed(path="") == hashed()
    assert hashed(manifest_sha256="0" * 64) != hashed()
    assert hashed() != config_hash(make_spec(tiny_model_dir))


def test_the_database_says_which_checkpoints_stay(tiny_model_dir, tmp_path):
    """A person kept step 1 and deleted step 0, the best: both are done as soon as it is told."""
    spec = make_spec(tiny_model_dir)
    control = ControlReader(None)
    learner = Learner(load_policy(spec), spec, loss_named("cispo"))
    saver = Saver(Handshake(spec=spec, run_dir=str(tmp_path)), learner, control, print)
    state = saver.begin()
    held = [{0}, {0, 1}, {0, 1, 2}, {1, 2, 3}, {1, 3, 4}]
    for step in range(6):
        evaluations = {"0": 0.9} if step == 0 else state.evaluations
        state = msgspec.structs.replace(state, step=step, evaluations=evaluations)
        saver.save(state, None)
        saver.tidy(state)
        if step < len(held):
            control.obey(Control("run", committed=step, available=tuple(held[step])))
    left = sorted(int(path.name[5:]) for path in (tmp_path / "checkpoints").iterdir())
    assert left == [1, 3, 4, 5]
    assert json.loads((tmp_path / "checkpoints/step-000001/state.json").read_text())["step"] == 1
