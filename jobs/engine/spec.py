"""JobSpec: the frozen, validated input of one engine run. Torch-free and Django-free.

The supervisor writes one `Handshake` as a JSON line on the engine's standard input: the spec,
the secrets (never on disk, never in argv), and the checkpoint to resume from. Every later line
is a `Control`. End of file on standard input means that the supervisor is gone: the engine stops.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

import msgspec

from graders.kinds.judging.judges import JudgeEndpoint

RunKind = Literal["train", "evaluate", "preflight", "replay", "playground"]
Desired = Literal["run", "pause", "cancel"]
Effects = Literal["none", "reads", "writes"]
GraderRole = Literal["grader", "held_out_grader", "turn_grader"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Defaults are not written, so that a release that adds a field changes no hash."""


class DataSpec(Part, frozen=True):
    """A JSONL file and, when a split is used, the rows of it that take part (zero-based)."""

    path: str
    rows: tuple[int, ...] | None = None


class ToolSpec(Part, frozen=True):
    """Where one tool is called. Rows' own `tools` win over `parameters` and `description`."""

    name: str
    url: str
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    effects: Effects = "reads"
    idempotent: bool = True
    timeout_s: float = 60.0
    max_concurrency: int = 32
    """Calls of this endpoint at once; where tools share one, the smallest of theirs."""
    rate_limit: float | None = None
    """Requests a second to this endpoint, retries among them; None: as many as come."""
    kind: Literal["http", "mcp"] = "http"
    remote_name: str = ""
    """What the MCP server calls the tool."""

    def __post_init__(self) -> None:
        if self.rate_limit is not None and not self.rate_limit > 0:
            raise ValueError(f"{self.name}: rate_limit is {self.rate_limit}, and must be above 0")
        if self.kind == "mcp" and not self.remote_name:
            raise ValueError(f"{self.name}: an MCP tool needs the name that its server gives it")


class Budgets(Part, frozen=True):
    """Limits of one rollout; each has a stop reason of its own. `wall_s` None: no limit."""

    max_turns: int = 12
    max_tool_calls: int = 10
    max_turn_tokens: int = 512
    max_sampled_tokens: int = 2048
    max_total_tokens: int = 4096
    wall_s: float | None = 600.0


class AdapterStart(Part, frozen=True):
    """The checkpoint whose adapter a fork begins with; its optimiser is not taken over."""

    manifest_sha256: str
    job: str
    step: int
    path: str = ""
    """The folder, absolute. Empty for a run that goes on from a checkpoint of its own."""


class LoraSpec(Part, frozen=True):
    """The adapter that is trained, on all linear layers."""

    rank: int = 16
    alpha: int = 32
    start: AdapterStart | None = None
    """None: it begins by changing nothing."""


class LossSpec(Part, frozen=True):
    """`kl_weight` 0: no pull towards the base model, and no forward pass for it."""

    name: str = "cispo"
    ratio_max: float = 5.0
    kl_weight: float = 0.0


class JudgeSpec(Part, frozen=True):
    """A judge that scores turns from 0 to 1. `model`: one of the handshake's judges."""

    model: str
    instructions: str


class TurnRewardSpec(Part, frozen=True):
    """Where single turns get scores from: exactly one of the three sources."""

    weight: float = 1.0
    gamma: float = 1.0
    grader: dict[str, Any] | None = None
    """A grader's spec; `sample` is then one turn, not the whole rollout."""
    judge: JudgeSpec | None = None
    gold: str = ""
    """A template of the row's gold answer, such as `{{item.answer}}`: information gain."""

    def __post_init__(self) -> None:
        given = sum((self.grader is not None, self.judge is not None, bool(self.gold)))
        if given != 1:
            raise ValueError(
                f"turn rewards name {given} sources; give exactly one of grader, judge or gold"
            )


class CounterfactualSpec(Part, frozen=True):
    """Continuations from before and after tool calls. `weight` 0: measured, not trained on."""

    weight: float = 0.0
    continuations: int = 4
    calls_per_step: int = 8

    def __post_init__(self) -> None:
        if self.continuations < 2 or self.calls_per_step < 1:
            raise ValueError(
                f"counterfactual has {self.continuations} continuations and "
                f"{self.calls_per_step} calls a step; it needs at least 2 and 1"
            )


class LengthSpec(Part, frozen=True):
    """What length costs on tasks that are solved; see `jobs.engine.credit.shaping`."""

    reasoning_penalty: float = 0.0
    reasoning_tokens: int = 1024
    """Reasoning of this many tokens costs the whole penalty."""
    call_penalty: float = 0.0
    call_budget: int = 4


class CreditSpec(Part, frozen=True):
    """How rewards become the advantage of each turn. The terms beyond the episode are additive."""

    advantage: str = "mean_centred"
    anchored_weight: float = 0.0
    gamma: float = 0.95
    """Discount a turn in the anchored term."""
    turn_rewards: TurnRewardSpec | None = None
    counterfactual: CounterfactualSpec | None = None
    length: LengthSpec = msgspec.field(default_factory=LengthSpec)


class ServerSpec(Part, frozen=True):
    """A completions server with token ids that samples instead of this process."""

    base_url: str
    dialect: Literal["vllm", "sglang"] = "vllm"
    processed_logprobs: bool = False
    """Whether vLLM was started with `--logprobs-mode processed_logprobs`."""
    timeout_s: float = 600.0


class JobSpec(Part, frozen=True, kw_only=True):
    """One run, resolved: no field is "auto" any more. At most 30 fields; a test counts them."""

    run_id: str
    kind: RunKind = "train"
    seed: int = 42
    model_path: str
    model_name: str = ""
    """What the outside knows the base model by: its hub id, or its name on this server."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    train: DataSpec
    validation: DataSpec
    tools: tuple[ToolSpec, ...] = ()
    grader: dict[str, Any]
    """Empty in a playground that grades nothing."""
    response_format: dict[str, Any] | None = None
    budgets: Budgets = msgspec.field(default_factory=Budgets)
    steps: int = 30
    groups_per_step: int = 8
    group_size: int = 8
    max_refills: int = 2
    temperature: float = 1.0
    learning_rate: float = 4e-5
    warmup_steps: int = 0
    lora: LoraSpec = msgspec.field(default_factory=LoraSpec)
    loss: LossSpec = msgspec.field(default_factory=LossSpec)
    credit: CreditSpec = msgspec.field(default_factory=CreditSpec)
    server: ServerSpec | None = None
    """None: this process samples."""
    held_out_grader: dict[str, Any] | None = None
    """Scores validation rollouts, trains nothing, and is watched for a gap."""
    micro_batch_tokens: int = 16384
    eval_interval: int = 10
    eval_samples: int = 1
    keep_checkpoints: int = 3
    deterministic: bool = False
    shuffle_rewards: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, and must be at least {least}"
            for name, value, least in (
                ("steps", self.steps, 1),
                ("groups_per_step", self.groups_per_step, 1),
                ("group_size", self.group_size, 2),
                ("max_refills", self.max_refills, 0),
                ("lora.rank", self.lora.rank, 1),
                ("eval_interval", self.eval_interval, 1),
                ("eval_samples", self.eval_samples, 1),
                ("keep_checkpoints", self.keep_checkpoints, 1),
            )
            if value < least
        ]
        if not self.learning_rate > 0:
            problems.append(f"learning_rate is {self.learning_rate}, and must be above 0")
        # What always takes the likeliest token explores nothing, so only a playground may.
        if not (self.temperature > 0 or (self.temperature == 0 and self.kind == "playground")):
            problems.append(f"temperature is {self.temperature}, and must be above 0")
        credit = self.credit
        measured = credit.counterfactual is not None and credit.counterfactual.weight != 0
        # The step term's discount tells a quick rollout from a slow one, whatever its reward.
        beyond = credit.anchored_weight != 0 or credit.turn_rewards is not None or measured
        if self.shuffle_rewards and beyond:
            problems.append(
                "shuffle_rewards is on, the control in which nothing can be learnt, and credit "
                "beyond the episode would still tell the truth; turn one of them off"
            )
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def base_name(self) -> str:
        """The base model as exports name it: folders of this server are nobody's business."""
        path = PurePath(self.model_path)
        return self.model_name or (path.name if path.is_absolute() else self.model_path)


class ResumePoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last committed checkpoint, relative to the run folder."""

    step: int
    path: str
    manifest_sha256: str


class ReplaySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A turn of a stored rollout to measure. Its files are another run's: paths are absolute."""

    uid: str
    turn: int
    """Zero-based."""
    continuations: int
    """From before the turn, and as many from after it."""
    step: int
    """The training step that the rollout belongs to."""
    bodies: str
    frames: tuple[tuple[int, int], ...]
    """Offset and length of each rollout of its group in the file `bodies`."""
    weights: tuple[ResumePoint, ...] = ()
    """Checkpoints to sample with, the best choice first; after them all comes the base model."""

    def __post_init__(self) -> None:
        if self.continuations < 2:
            raise ValueError(
                f"a replay has {self.continuations} continuations and needs at least 2"
            )


class PreflightSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which tasks the base model is still to be tried on, and how often each."""

    rows: tuple[int, ...]
    """Zero-based lines of the training file; empty: all are done."""
    attempts: int
    is_last_try: bool = False
    """An outage ends the run with what was found, instead of pausing it."""

    def __post_init__(self) -> None:
        if self.attempts < 2:
            raise ValueError(f"a preflight has {self.attempts} attempts a task, and needs 2")


class SideSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model of a playground: a base model, and with `lora.start` the adapter that goes on it."""

    model_path: str
    model_name: str = ""
    lora: LoraSpec = msgspec.field(default_factory=LoraSpec)


class PlaygroundSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One task, and the models that try it once each. The spec's own model and tasks are unused."""

    row: int
    item: dict[str, Any]
    """The whole row, as tools and graders get it."""
    tools: tuple[dict[str, Any], ...] = ()
    """Of the row's own tools those that are chosen; empty: the model is told of the spec's."""
    sides: tuple[SideSpec, ...]

    def __post_init__(self) -> None:
        if not self.sides or not self.item.get("messages"):
            raise ValueError("a playground needs a model and a task with messages")


class Handshake(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first line on the engine's standard input."""

    spec: JobSpec
    run_dir: str
    epoch: int = 1
    headers: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Secret HTTP headers by tool name."""
    sampler_key: str = ""
    """The key of `spec.server`, a secret."""
    judges: dict[str, JudgeEndpoint] = msgspec.field(default_factory=dict)
    """By the name that specs use, with their secret keys."""
    grader_headers: dict[GraderRole, dict[str, dict[str, str]]] = msgspec.field(
        default_factory=dict
    )
    """Secret HTTP headers of endpoint graders, by their place in the spec of that grader."""
    allow_networks: tuple[str, ...] = ()
    """What the operator allows beyond public addresses: `CIDR`, `CIDR:port` or `host:port`."""
    resume: ResumePoint | None = None
    last_step: int = -1
    """The last step that the database holds; the engine goes on with `last_step + 1`."""
    kept_checkpoints: tuple[ResumePoint, ...] = ()
    """Committed checkpoints that are kept for their validation reward, or by a person."""
    recording: str = ""
    """A file of recorded tool traffic that answers every call; empty: the tools are called."""
    recording_name: str = ""
    replay: ReplaySpec | None = None
    """What a run of kind "replay" measures."""
    preflight: PreflightSpec | None = None
    """What a run of kind "preflight" tries."""
    playground: PlaygroundSpec | None = None
    """What a run of kind "playground" tries."""

    def __post_init__(self) -> None:
        parts = {
            "replay": self.replay,
            "preflight": self.preflight,
            "playground": self.playground,
        }
        for kind, part in parts.items():
            if (self.spec.kind == kind) is not (part is not None):
                raise ValueError(
                    f"a run of kind {self.spec.kind} and its {kind} do not go together"
                )


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any later line: what the job's owner wants now."""

    desired: Desired
    committed: int | None = None
    """The last step that the database holds by now: checkpoints before it may go."""
    available: tuple[int, ...] | None = None
    """Steps up to `committed` whose checkpoints the database still holds: these stay, whatever
    they are worth, and the others go."""
