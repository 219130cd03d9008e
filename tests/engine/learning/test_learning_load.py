"""A base model that cannot be loaded is refused with a code, a reason and what to do."""

from __future__ import annotations

import httpx2
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from transformers import AutoConfig

from jobs.engine.errors import RunFailed
from jobs.engine.learning import model
from jobs.engine.learning.model import load_policy
from jobs.engine.spec import DataSpec, JobSpec

# The hub's errors carry the answer of its client's own library.
ANSWER = httpx2.Response(404, request=httpx2.Request("GET", "http://127.0.0.1/acme/base"))


def spec_for(path):
    data = DataSpec(path="tasks.jsonl")
    return JobSpec(
        run_id="r", model_path=path, device="cpu", train=data, validation=data, grader={}
    )


def refusal(path):
    with pytest.raises(RunFailed) as failed:
        load_policy(spec_for(path))
    return failed.value.code, failed.value.permanent, failed.value.text


@pytest.mark.parametrize(
    ("path", "cause", "said", "code", "permanent", "words"),
    [
        (
            "acme/base",
            GatedRepoError("403", response=ANSWER),
            OSError("no access"),
            "model_gated",
            True,
            "acme/base is gated: accept its terms on the hub and give this server a token",
        ),
        (
            "acme/base",
            RepositoryNotFoundError("404", response=ANSWER),
            OSError("acme/base is no model."),
            "model_not_found",
            True,
            "acme/base cannot be loaded: acme/base is no model. Check the folder or the hub id",
        ),
        (
            "acme/base",
            ConnectionError("unreachable"),
            OSError("the hub does not answer.\nmore"),
            "model_not_found",
            False,
            "acme/base cannot be loaded: the hub does not answer. Check",
        ),
        (
            "/srv/base",
            None,
            OSError("config.json is missing."),
            "model_not_found",
            True,
            "/srv/base cannot be loaded: config.json is missing.",
        ),
        (
            "acme/base",
            None,
            ValueError("set trust_remote_code=True"),
            "model_needs_code",
            True,
            "acme/base needs code of its own, which is never run here",
        ),
    ],
    ids=["gated", "unknown", "offline", "folder", "code"],
)
def test_each_failure_to_load_has_a_code_of_its_own(
    monkeypatch, path, cause, said, code, permanent, words
):
    def failing(*_, **__):
        raise said from cause

    monkeypatch.setattr(AutoConfig, "from_pretrained", failing)
    assert refusal(path)[:2] == (code, permanent)
    assert words in refusal(path)[2]


def test_a_model_fits_to_the_byte_or_is_refused(monkeypatch, tiny_model_dir):
    path = str(tiny_model_dir)
    policy = load_policy(spec_for(path))
    total, trainable = policy.parameter_counts()
    # fp32 has four bytes, and the weights take 1.3 times their size.
    needed = -(-(total - trainable) * 4 * 13 // 10)
    monkeypatch.setattr(model, "free_memory", lambda _device: needed)
    load_policy(spec_for(path))
    monkeypatch.setattr(model, "free_memory", lambda _device: needed - 1)
    code, permanent, text = refusal(path)
    assert (code, permanent) == ("model_too_large", True)
    assert "0.0 GB are free on cpu; use a smaller model or a larger machine" in text


def test_the_free_memory_of_this_machine_is_a_number_of_bytes():
    assert 2**26 < model.free_memory(torch.device("cpu")) < 2**50
