"""An adapter leaves the engine only if plain PEFT computes what the trainer computed."""

from __future__ import annotations

import asyncio
import json
import math
import shutil

import msgspec
import pytest
import torch
from safetensors.torch import load, save

from jobs.engine.control import ControlReader
from jobs.engine.errors import RunFailed
from jobs.engine.export import check_proof, export_adapter, make_proof, proof_trajectories
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.update import Learner
from jobs.engine.prove import largest_difference
from jobs.engine.reporting import write_bodies
from jobs.engine.saving import Saver
from jobs.engine.spec import DataSpec, Handshake, JobSpec, LoraSpec


def no_warning(code, text):
    raise AssertionError(f"{code}: {text}")


@pytest.fixture
def trained(tiny_model_dir, tmp_path, make_trajectory):
    """A policy with an adapter that does something, its saver, and two recorded steps."""
    data = DataSpec(path="tasks.jsonl")
    spec = JobSpec(
        run_id="r",
        model_path=str(tiny_model_dir),
        model_name="Acme base 1",
        device="cpu",
        train=data,
        validation=data,
        grader={},
        lora=LoraSpec(rank=2),
        temperature=0.7,
    )
    policy = load_policy(spec)
    generator = torch.Generator().manual_seed(5)
    for _, parameter in policy.trainable:
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    handshake = Handshake(spec=spec, run_dir=str(tmp_path))
    saver = Saver(
        handshake, Learner(policy, spec, loss_named("cispo")), ControlReader(None), no_warning
    )
    state = saver.begin()
    for step, reward in ((0, 0.75), (1, 0.25)):
        evaluations = {**state.evaluations, str(step): reward}
        state = msgspec.structs.replace(state, step=step, evaluations=evaluations)
        members = [
            make_trajectory(
                f"v-{step}-{n}-0",
                split="validation" if n else "train",
                tokens=12,
                ids=[17 * n + place for place in range(13)],
            )
            for n in range(3)
        ]
        write_bodies(tmp_path, step, 1, members)
        saver.save(state, reward)
    return handshake, policy, saver, state


def written(trained, folder, change=lambda tensors: tensors):
    """A folder as it is exported, with a change to the adapter's tensors; and its base model."""
    handshake, policy, saver, _ = trained
    proof = make_proof(handshake, policy, proof_trajectories(saver.run_dir, 0))
    folder.mkdir()
    (folder / "proof.json").write_bytes(msgspec.json.encode(proof))
    checkpoint = saver.checkpoint_path(0)
    (folder / "adapter_config.json").write_bytes((checkpoint / "adapter_config.json").read_bytes())
    tensors = load((checkpoint / "adapter_model.safetensors").read_bytes())
    data = save(change(tensors), metadata={"format": "pt"})
    (folder / "adapter_model.safetensors").write_bytes(data)
    return folder, handshake.spec.model_path


def test_plain_peft_agrees_with_the_trainer(trained, tmp_path):
    worst, tokens, from_base = largest_difference(*written(trained, tmp_path / "export"))
    assert worst <= 1e-5
    assert tokens == 3 * 12
    assert from_base > 0.01
    check_proof(worst, tokens, torch.float32)


def test_the_proof_says_where_an_adapter_answers_as_the_base_model_does(trained, tmp_path):
    def change(tensors):
        return {name: tensor * 0 for name, tensor in tensors.items()}

    _, _, from_base = largest_difference(*written(trained, tmp_path / "export", change))
    assert from_base == 0.0


def test_one_changed_weight_is_found(trained, tmp_path):
    def change(tensors):
        first = sorted(tensors)[0]
        tensors[first][0, 0] += 0.5
        return tensors

    worst, tokens, _ = largest_difference(*written(trained, tmp_path / "export", change))
    with pytest.raises(RunFailed, match="not the trained model") as failed:
        check_proof(worst, tokens, torch.float32)
    assert failed.value.code == "adapter_mismatch"


def test_weights_that_are_no_numbers_are_found(trained, tmp_path):
    def change(tensors):
        return {name: tensor * math.nan for name, tensor in tensors.items()}

    worst, _, _ = largest_difference(*written(trained, tmp_path / "export", change))
    assert worst == math.inf


@pytest.mark.parametrize(
    ("worst", "tokens", "dtype", "sound"),
    [
        (1e-4, 1, torch.float32, True),
        (1.1e-4, 1, torch.float32, False),
        (0.05, 1, torch.bfloat16, True),
        (0.06, 1, torch.bfloat16, False),
        (0.0, 0, torch.float32, False),
        (math.nan, 5, torch.float32, False),
    ],
)
def test_the_bounds_of_the_proof(worst, tokens, dtype, sound):
    if sound:
        check_proof(worst, tokens, dtype)
        return
    with pytest.raises(RunFailed):
        check_proof(worst, tokens, dtype)


def test_the_proof_takes_validation_rollouts_of_the_exported_step_first(trained):
    _, _, saver, _ = trained
    members = proof_trajectories(saver.run_dir, 1)
    assert [member.uid for member in members] == ["v-1-1-0", "v-1-2-0", "v-1-0-0"]
    assert proof_trajectories(saver.run_dir, 5) == []


@pytest.mark.slow
def test_the_best_step_is_exported_with_its_card(trained, tmp_path):
    handshake, policy, saver, state = trained
    adapter = asyncio.run(export_adapter(handshake, state, saver, policy))
    assert (adapter.step, adapter.path, adapter.proof_tokens) == (0, "adapter", 36)
    assert adapter.proof_max_abs_logprob_diff <= 1e-5
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "| mean validation reward of this adapter | 0.750 |" in card
    assert 'AutoModelForCausalLM.from_pretrained("Acme base 1")' in card
    assert "vllm serve 'Acme base 1' --enable-lora" in card
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "Acme base 1"


@pytest.mark.slow
def test_nothing_that_is_exported_names_a_folder_of_the_server(trained, tmp_path):
    handshake, policy, saver, state = trained
    asyncio.run(export_adapter(handshake, state, saver, policy))
    folder = handshake.spec.model_path.encode()
    files = [path for path in (tmp_path / "adapter").iterdir() if path.is_file()]
    assert len(files) == 5
    assert [path.name for path in files if folder in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("path", "name", "shown"),
    [
        ("/srv/models/acme", "", "acme"),
        ("/srv/models/acme/", "", "acme"),
        ("/srv/models/acme", "acme/base-1b", "acme/base-1b"),
        ("acme/base-1b", "", "acme/base-1b"),
    ],
)
def test_an_export_names_its_base_as_the_outside_does(path, name, shown):
    data = DataSpec(path="tasks.jsonl")
    spec = JobSpec(
        run_id="r", model_path=path, model_name=name, train=data, validation=data, grader={}
    )
    assert spec.base_name == shown


class ForgetfulSaver(Saver):
    """Exports a checkpoint that is not what the policy holds."""

    def load_best(self, state):
        return 1


@pytest.mark.slow
def test_without_a_recorded_token_the_proof_is_made_on_arbitrary_ones(trained, tmp_path):
    handshake, policy, saver, state = trained
    shutil.rmtree(tmp_path / "trajectories")
    adapter = asyncio.run(export_adapter(handshake, state, saver, policy))
    assert adapter.proof_tokens == 63
    assert adapter.proof_max_abs_logprob_diff <= 1e-5


@pytest.mark.slow
def test_an_adapter_that_is_not_the_policy_is_not_published(trained, tmp_path):
    handshake, policy, saver, state = trained
    for _, parameter in policy.trainable:
        parameter.data = parameter.data * 1.5
    forgetful = ForgetfulSaver(handshake, saver._learner, ControlReader(None), no_warning)
    with pytest.raises(RunFailed, match="not the trained model"):
        asyncio.run(export_adapter(handshake, state, forgetful, policy))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "trajectories"]
