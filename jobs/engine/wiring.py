"""Builds a run out of its handshake: the one place that knows all the parts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import torch

from graders.kinds.base import GraderSpecError
from graders.sandbox.client import PythonSandbox
from graders.sandbox.isolation import SandboxUnavailable
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from jobs.engine.collect import Collector
from jobs.engine.control import ControlReader
from jobs.engine.credit.registry import estimator_named
from jobs.engine.errors import RunFailed
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import Policy, load_policy
from jobs.engine.learning.update import Learner
from jobs.engine.loop import TrainingLoop
from jobs.engine.reporting import EventWriter
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.grading import RewardGrader
from jobs.engine.rollout.render import ChatRenderer, TemplateRefused, ToolMessage
from jobs.engine.rollout.runner import RolloutRunner
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.sampling.local import LocalSampler, stop_token_ids, way_of_sampling
from jobs.engine.saving import Saver
from jobs.engine.spec import Budgets, Handshake, JobSpec


def make_policy(spec: JobSpec) -> Policy:
    """Refuse unknown names before the model is loaded, then load it."""
    estimator_named(spec.advantage)
    loss_named(spec.loss)
    if spec.deterministic:
        torch.use_deterministic_algorithms(True)
    return load_policy(spec)


@asynccontextmanager
async def wired(
    handshake: Handshake, policy: Policy, writer: EventWriter, control: ControlReader
) -> AsyncIterator[TrainingLoop]:
    """A loop that is ready to run; what it holds open is closed on leaving."""
    spec = handshake.spec
    budgets = budgets_of(spec)
    sampler = LocalSampler(
        policy.model,
        policy.tokenizer,
        device=policy.device,
        lock_step=spec.deterministic,
        capacity=min(policy.context_length, budgets.max_total_tokens),
    )
    with PythonSandbox() as sandbox:
        grader = make_grader(spec, sandbox)
        network = OutboundPolicy.parse(handshake.allow_networks)
        async with aclosing(AsyncGuardedClient(network)) as client:
            runner = RolloutRunner(
                sampler,
                make_renderer(spec, policy),
                ToolExecutor(spec.tools, handshake.headers, client),
                EpisodeSettings(
                    budgets=budgets,
                    seed=spec.seed,
                    temperature=spec.temperature,
                    run_id=spec.run_id,
                    context_length=policy.context_length,
                ),
                at_once=sampler.at_once,
            )
            learner = Learner(policy, spec, loss_named(spec.loss))
            yield TrainingLoop(
                handshake=handshake,
                collector=Collector(spec, runner, grader, writer),
                learner=learner,
                saver=Saver(handshake, learner, control, writer.warn),
                writer=writer,
                control=control,
                weights_changed=sampler.weights_changed,
            )


def budgets_of(spec: JobSpec) -> Budgets:
    """A deterministic run has no limit that a clock decides."""
    if spec.deterministic:
        return msgspec.structs.replace(spec.budgets, wall_s=None)
    return spec.budgets


def make_renderer(spec: JobSpec, policy: Policy) -> ChatRenderer:
    """Refuses a template that cannot show the results of the job's tools before the first turn."""
    end = policy.tokenizer.eos_token_id
    # The tokenizer's own end token goes last: it is the one that closes a turn that was cut.
    others = [stop for stop in stop_token_ids(policy.model, policy.tokenizer) if stop != end]
    try:
        renderer = ChatRenderer(policy.tokenizer, others)
        for tool in spec.tools[:1]:
            renderer.tool_suffix([ToolMessage(tool.name, "")])
    except TemplateRefused as error:
        raise RunFailed("template_refused", f"{spec.model_path}: {error}") from error
    return renderer


def make_grader(spec: JobSpec, sandbox: PythonSandbox) -> RewardGrader:
    """Python graders run isolated or not at all, and that is known before the first rollout."""
    try:
        grader = RewardGrader(spec.grader, python=sandbox, response_format=spec.response_format)
        if '"python"' in json.dumps(spec.grader):
            sandbox.start()
    except GraderSpecError as error:
        raise RunFailed("grader_invalid", f"the grader cannot work: {error}") from error
    except SandboxUnavailable as error:
        raise RunFailed("sandbox_unavailable", str(error)) from error
    return grader


def started_facts(policy: Policy) -> dict[str, Any]:
    """What `Started` says of the loaded model."""
    total, trainable = policy.parameter_counts()
    return {
        "device": policy.device.type,
        "dtype": str(policy.dtype).removeprefix("torch."),
        "parameters": total,
        "trainable_parameters": trainable,
        "sampler": way_of_sampling(policy.model.config),
    }
