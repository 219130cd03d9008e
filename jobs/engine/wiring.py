"""Builds a run out of its handshake: the one place that knows all the parts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from graders.kinds.base import GraderSpecError
from graders.sandbox.client import PythonSandbox
from graders.sandbox.isolation import SandboxUnavailable
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from hone.core.net.recorded import Answers, unpacked
from jobs.engine.collect import Collector, Grades
from jobs.engine.continuations import Continuations
from jobs.engine.control import ControlReader
from jobs.engine.credit.registry import estimator_named
from jobs.engine.errors import RunFailed
from jobs.engine.evidence import Evidence
from jobs.engine.learning.checkpoint import adapter_files, publish_folder
from jobs.engine.learning.gold import GoldTurnScores
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import Policy, adapter_anew, load_policy
from jobs.engine.learning.start import load_start
from jobs.engine.learning.update import Learner
from jobs.engine.loop import TrainingLoop
from jobs.engine.ranks import Ranks
from jobs.engine.reporting import EventWriter
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.grading import HeldOutScore, NoGrader, RewardGrader
from jobs.engine.rollout.judge import JudgeTurnScores
from jobs.engine.rollout.outside import Callers
from jobs.engine.rollout.recording import RecordedExecutor
from jobs.engine.rollout.render import ChatRenderer, TemplateRefused, ToolMessage
from jobs.engine.rollout.runner import RolloutRunner
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.rollout.turn_rewards import GraderTurnScores, TurnScores
from jobs.engine.sampling.local import LocalSampler, stop_token_ids, way_of_sampling
from jobs.engine.sampling.server import Server, ServerSampler
from jobs.engine.saving import Saver
from jobs.engine.spec import Budgets, Handshake, JobSpec
from jobs.engine.threads import available_cores, thread_count


def make_policy(spec: JobSpec, loaded: Policy | None = None) -> Policy:
    """Refuse unknown names before the model is loaded, then load it, and a fork's adapter.

    `loaded`: of the same base model, which then is not read again.
    """
    estimator_named(spec.credit.advantage)
    loss_named(spec.loss.name)
    if spec.deterministic:
        torch.use_deterministic_algorithms(True)
    policy = adapter_anew(loaded, spec) if loaded else load_policy(spec)
    start = spec.lora.start
    if start is not None and start.path:
        load_start(policy, spec.lora, start)
    return policy


def set_threads(spec: JobSpec, policy: Policy) -> None:
    """For this thread, which learns, and for threads that start later, such as the sampler's."""
    total, _ = policy.parameter_counts()
    torch.set_num_threads(
        thread_count(
            total,
            deterministic=spec.deterministic,
            cores=available_cores(),
            environment=os.environ,
        )
    )


@asynccontextmanager
async def wired(
    handshake: Handshake,
    policy: Policy,
    writer: EventWriter,
    control: ControlReader,
    ranks: Ranks,
) -> AsyncIterator[TrainingLoop]:
    """A loop that is ready to run; what it holds open is closed on leaving."""
    spec = handshake.spec
    async with rollouts(handshake, policy, ranks) as parts:
        runner, grader = parts.runner, parts.grader
        learner = Learner(policy, spec, loss_named(spec.loss.name), ranks)
        held_out = make_held_out(spec, parts.sandbox, parts.callers)
        collector = Collector(
            spec,
            runner,
            grader,
            writer,
            held_out=held_out,
            ranks=ranks,
            recording_name=handshake.recording_name,
        )
        task_of = collector.task_of
        yield TrainingLoop(
            handshake=handshake,
            collector=collector,
            evidence=Evidence(
                spec.credit,
                task_of,
                writer,
                ranks,
                scores=make_scores(handshake, policy, parts),
                continuations=Continuations(runner, grader, spec.tools, task_of, ranks=ranks),
            ),
            learner=learner,
            saver=Saver(handshake, learner, control, writer.warn),
            writer=writer,
            control=control,
            weights_changed=parts.sampler.weights_changed,
            judges=parts.callers.judges,
            ranks=ranks,
        )


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What rolls out and grades with a policy, and what that holds open."""

    sampler: LocalSampler | ServerSampler
    renderer: ChatRenderer
    runner: RolloutRunner
    grader: Grades
    sandbox: PythonSandbox
    callers: Callers


@asynccontextmanager
async def rollouts(handshake: Handshake, policy: Policy, ranks: Ranks) -> AsyncIterator[Rollouts]:
    """Everything of a run that needs no learner; what it holds open is closed on leaving."""
    spec = handshake.spec
    budgets = budgets_of(spec)
    with PythonSandbox() as sandbox:
        network = OutboundPolicy.parse(handshake.allow_networks)
        async with (
            aclosing(AsyncGuardedClient(network)) as client,
            aclosing(ToolExecutor(spec.tools, handshake.headers, client)) as executor,
        ):
            callers = make_callers(handshake, client)
            grader = make_grader(spec, sandbox, callers)
            tools = executor if not handshake.recording else make_recorded(handshake, executor)
            sampler = make_sampler(handshake, policy, client, ranks)
            renderer = make_renderer(spec, policy)
            runner = RolloutRunner(
                sampler,
                renderer,
                tools,
                EpisodeSettings(
                    budgets=budgets,
                    seed=spec.seed,
                    temperature=spec.temperature,
                    run_id=spec.run_id,
                    context_length=policy.context_length,
                ),
                at_once=sampler.at_once if isinstance(sampler, LocalSampler) else None,
            )
            yield Rollouts(sampler, renderer, runner, grader, sandbox, callers)


def make_recorded(handshake: Handshake, executor: ToolExecutor) -> RecordedExecutor:
    """Every call is answered by the recording; a file that is none ends the run."""
    try:
        entries = unpacked(Path(handshake.recording).read_bytes())
    except (OSError, ValueError) as error:
        raise RunFailed("recording_unreadable", f"the recording cannot be read: {error}") from error
    return RecordedExecutor(executor, Answers(handshake.recording_name, entries))


def make_sampler(
    handshake: Handshake, policy: Policy, client: AsyncGuardedClient, ranks: Ranks
) -> LocalSampler | ServerSampler:
    """In this process, unless the job names a server; each rank has an adapter of its own there."""
    spec = handshake.spec
    if spec.server is None:
        return LocalSampler(
            policy.model,
            policy.tokenizer,
            device=policy.device,
            lock_step=spec.deterministic,
            capacity=min(policy.context_length, spec.budgets.max_total_tokens),
        )
    if spec.deterministic:
        raise RunFailed(
            "sampling_server_refused",
            "deterministic is on, and a sampling server promises no equal answers; turn one off",
        )
    return ServerSampler(
        Server(
            spec.server.base_url,
            dialect=spec.server.dialect,
            processed_logprobs=spec.server.processed_logprobs,
            api_key=handshake.sampler_key,
            timeout_s=spec.server.timeout_s,
        ),
        client,
        adapter=f"{spec.run_id}-{ranks.index}",
        write_adapter=ServedAdapter(
            policy, Path(handshake.run_dir) / f"served-{ranks.index}" / f"e{handshake.epoch}"
        ),
        stop_ids=stop_token_ids(policy.model, policy.tokenizer),
        temperature=spec.temperature,
    )


class ServedAdapter:
    """Writes the adapter where the server reads it; of the folders, the last two are kept."""

    def __init__(self, policy: Policy, root: Path) -> None:
        self._policy = policy
        self._root = root
        self._written: list[Path] = []
        self._count = 0

    def __call__(self) -> Path:
        self._count += 1
        folder = self._root / f"{self._count:06d}"
        files = adapter_files(self._policy.adapter_tensors(), self._policy.adapter_config())
        publish_folder(folder, files, step=self._count)
        self._written.append(folder)
        for old in self._written[:-2]:
            shutil.rmtree(old, ignore_errors=True)
        return folder


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


def make_callers(handshake: Handshake, client: AsyncGuardedClient) -> Callers:
    if handshake.spec.deterministic and handshake.judges:
        raise RunFailed(
            "judge_refused",
            "deterministic is on, and a judge promises no equal answers; turn one off",
        )
    return Callers(handshake, client)


def make_grader(spec: JobSpec, sandbox: PythonSandbox, callers: Callers) -> Grades:
    """Python graders run isolated or not at all, and that is known before the first rollout."""
    if spec.kind == "playground" and not spec.grader:
        return NoGrader()
    with _refusals("grader", spec.grader, sandbox):
        return RewardGrader(
            spec.grader,
            python=sandbox,
            outside=callers.of("grader"),
            response_format=spec.response_format,
        )


def make_held_out(spec: JobSpec, sandbox: PythonSandbox, callers: Callers) -> HeldOutScore | None:
    if spec.held_out_grader is None:
        return None
    with _refusals("held-out grader", spec.held_out_grader, sandbox):
        return HeldOutScore(
            spec.held_out_grader,
            python=sandbox,
            outside=callers.of("held_out_grader"),
            response_format=spec.response_format,
        )


def make_scores(handshake: Handshake, policy: Policy, parts: Rollouts) -> TurnScores | None:
    """Where single turns get their scores from; None where the job has no turn rewards."""
    spec, sandbox = handshake.spec, parts.sandbox
    wanted = spec.credit.turn_rewards
    if wanted is None:
        return None
    if wanted.judge is not None:
        return JudgeTurnScores(wanted.judge, parts.callers.judges)
    with _refusals("source of turn scores", wanted.grader or {}, sandbox):
        if wanted.grader is not None:
            return GraderTurnScores(
                wanted.grader,
                python=sandbox,
                outside=parts.callers.of("turn_grader"),
                response_format=spec.response_format,
            )
        return GoldTurnScores(
            policy, parts.renderer, wanted.gold, token_budget=spec.micro_batch_tokens
        )


@contextmanager
def _refusals(what: str, spec: dict[str, Any], sandbox: PythonSandbox) -> Iterator[None]:
    try:
        yield
        if '"python"' in json.dumps(spec):
            sandbox.start()
    except GraderSpecError as error:
        raise RunFailed("grader_invalid", f"the {what} cannot work: {error}") from error
    except SandboxUnavailable as error:
        raise RunFailed("sandbox_unavailable", str(error)) from error


def started_facts(spec: JobSpec, policy: Policy) -> dict[str, Any]:
    """What `Started` says of the loaded model."""
    total, trainable = policy.parameter_counts()
    return {
        "device": policy.device.type,
        "dtype": str(policy.dtype).removeprefix("torch."),
        "parameters": total,
        "trainable_parameters": trainable,
        "sampler": "server" if spec.server else way_of_sampling(policy.model.config),
    }
