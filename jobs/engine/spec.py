"""JobSpec: the frozen, validated input of one engine run. Torch-free and Django-free.

The supervisor writes one `Handshake` as a JSON line on the engine's standard input: the spec,
the secrets (never on disk, never in argv), and the checkpoint to resume from. Every later line
is a `Control`. End of file on standard input means that the supervisor is gone: the engine stops.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

import msgspec

RunKind = Literal["train", "evaluate"]
Desired = Literal["run", "pause", "cancel"]
Effects = Literal["none", "reads", "writes"]


class DataSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSONL file and, when a split is used, the rows of it that take part (zero-based)."""

    path: str
    rows: tuple[int, ...] | None = None


class ToolSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one rollout; each has a stop reason of its own. `wall_s` None: no limit."""

    max_turns: int = 12
    max_tool_calls: int = 10
    max_turn_tokens: int = 512
    max_sampled_tokens: int = 2048
    max_total_tokens: int = 4096
    wall_s: float | None = 600.0


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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
    response_format: dict[str, Any] | None = None
    budgets: Budgets = msgspec.field(default_factory=Budgets)
    steps: int = 30
    groups_per_step: int = 8
    group_size: int = 8
    max_refills: int = 2
    temperature: float = 1.0
    learning_rate: float = 4e-5
    warmup_steps: int = 0
    lora_rank: int = 16
    lora_alpha: int = 32
    loss: str = "cispo"
    advantage: str = "mean_centred"
    ratio_max: float = 5.0
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
                ("lora_rank", self.lora_rank, 1),
                ("eval_interval", self.eval_interval, 1),
                ("eval_samples", self.eval_samples, 1),
                ("keep_checkpoints", self.keep_checkpoints, 1),
            )
            if value < least
        ]
        if not self.learning_rate > 0:
            problems.append(f"learning_rate is {self.learning_rate}, and must be above 0")
        if not self.temperature > 0:
            problems.append(f"temperature is {self.temperature}, and must be above 0")
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


class Handshake(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first line on the engine's standard input."""

    spec: JobSpec
    run_dir: str
    epoch: int = 1
    headers: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Secret HTTP headers by tool name."""
    allow_networks: tuple[str, ...] = ()
    """What the operator allows beyond public addresses: `CIDR`, `CIDR:port` or `host:port`."""
    resume: ResumePoint | None = None
    last_step: int = -1
    """The last step that the database holds; the engine goes on with `last_step + 1`."""
    kept_checkpoints: tuple[ResumePoint, ...] = ()
    """Committed checkpoints that are kept for their validation reward."""


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any later line: what the job's owner wants now."""

    desired: Desired
    committed: int | None = None
    """The last step that the database holds by now: checkpoints before it may go."""
