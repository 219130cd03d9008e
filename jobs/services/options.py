"""The options of a job: their titles, ranges, and what "auto" becomes with a one-line reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any, Literal

TINY = 5e7
"""Models with fewer parameters learn at a higher rate and need no warm-up."""
MOST_STEPS = 100_000
MOST_TOKENS = 1_048_576
MOST_WEIGHT = 10

Auto = tuple[Any, str]
Values = Mapping[str, Any]
Topic = Literal["Attempts", "Learning", "Credit"]
TOPICS: tuple[Topic, ...] = ("Attempts", "Learning", "Credit")
"""How the form groups the options, in its order."""

ANCHORED_WEIGHT: Auto = (0.0, "Off: each turn gets the whole trajectory's advantage.")
"""What "auto" is for the credit from siblings at the same state."""


@dataclass(frozen=True)
class Facts:
    """What "auto" is worked out from."""

    train_rows: int
    validation_rows: int
    parameters: int | None = None
    context_length: int | None = None


@dataclass(frozen=True)
class Option:
    """One name that may be set: a whole number, a number, or one of `choices`."""

    name: str
    title: str
    auto: Callable[[Facts, Values], Auto]
    low: float | None = None
    high: float | None = None
    whole: bool = True
    choices: tuple[str, ...] = ()
    above: bool = False
    """The lower bound itself is not allowed."""
    contract: bool = False
    topic: Topic = "Attempts"

    @property
    def range(self) -> str:
        if self.choices:
            return ", ".join(self.choices)
        lower = f"{'above' if self.above else 'at least'} {self.low:.10g}"
        return lower if self.high is None else f"{lower}, at most {self.high:.10g}"

    def checked(self, value: Any) -> Any:
        """The value in its type; ValueError with a sentence where it does not fit."""
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"{self.name} is {value!r}; use one of {self.range}, or auto.")
            return value
        number = _number(value)
        if number is None or (self.whole and number != int(number)):
            kind = "a whole number" if self.whole else "a number"
            raise ValueError(f"{self.name} is {value!r}, which is not {kind}. Use {self.range}.")
        too_low = self.low is not None and (number <= self.low if self.above else number < self.low)
        if too_low or (self.high is not None and number > self.high):
            raise ValueError(f"{self.name} is {value}; it must be {self.range}.")
        return int(number) if self.whole else number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _constant(value: Any, reason: str) -> Callable[[Facts, Values], Auto]:
    return lambda facts, values: (value, reason)


def _batch_size(facts: Facts, values: Values) -> Auto:
    size = max(1, min(16, facts.train_rows // 4))
    known = f"{facts.train_rows} " if facts.train_rows else ""
    return size, f"A quarter of the {known}training tasks, at most 16."


def _n_epochs(facts: Facts, values: Values) -> Auto:
    epochs = ceil(30 * values["batch_size"] / max(1, facts.train_rows))
    return min(50, max(1, epochs)), "Enough passes for about 30 steps."


def _steps(facts: Facts, values: Values) -> Auto:
    steps = ceil(values["n_epochs"] * facts.train_rows / values["batch_size"])
    tasks = f"{facts.train_rows} tasks" if facts.train_rows else "all training tasks"
    reason = f"{values['n_epochs']} passes over {tasks}, {values['batch_size']} a step."
    return max(1, steps), reason


def _group_size(facts: Facts, values: Values) -> Auto:
    multiplier = values["compute_multiplier"]
    return min(64, max(2, round(8 * multiplier))), f"8 attempts a task times {multiplier:g}."


def _eval_interval(facts: Facts, values: Values) -> Auto:
    return max(1, values["steps"] // 6), f"About six evaluations in {values['steps']} steps."


def _eval_samples(facts: Facts, values: Values) -> Auto:
    samples = min(4, max(1, ceil(64 / max(1, facts.validation_rows))))
    tasks = f"{facts.validation_rows} tasks" if facts.validation_rows else "all validation tasks"
    return samples, f"At least 64 attempts over {tasks}, at most 4 each."


def _learning_rate(facts: Facts, values: Values) -> Auto:
    size = facts.parameters or 10**9
    rate = 5e-4 if size < TINY else 5e-5 if size < 2e9 else 4e-5 if size < 8e9 else 2e-5
    multiplier = values["learning_rate_multiplier"]
    return (
        rate * multiplier,
        f"{rate:g} for LoRA on {size / 1e6:.3g} M parameters times {multiplier:g}.",
    )


def _warmup_steps(facts: Facts, values: Values) -> Auto:
    if (facts.parameters or TINY) < TINY:
        return 0, "So small a model needs none."
    steps = min(10, max(5, values["steps"] // 10), values["steps"])
    return steps, f"A tenth of {values['steps']} steps, from 5 to 10."


def _total_tokens(facts: Facts, values: Values) -> Auto:
    limit = facts.context_length or 4096
    return min(limit, 8192), f"The model's context of {limit} tokens, at most 8192."


def _turn_tokens(facts: Facts, values: Values) -> Auto:
    effort = values["reasoning_effort"]
    tokens = {"low": 256, "default": 512, "medium": 512, "high": 1024}[effort]
    return min(tokens, values["max_total_tokens"]), f"{tokens} tokens for effort {effort}."


def _sampled_tokens(facts: Facts, values: Values) -> Auto:
    tokens = min(4 * values["max_turn_tokens"], values["max_total_tokens"])
    return tokens, "Four full turns, at most the total."


def _tool_calls(facts: Facts, values: Values) -> Auto:
    return max(1, values["max_turns"] - 1), "One a turn, and the answer."


def _lora_alpha(facts: Facts, values: Values) -> Auto:
    return 2 * values["lora_rank"], "Twice the rank."


def _contract(name: str, title: str, auto: Callable[[Facts, Values], Auto], **rest: Any) -> Option:
    return Option(name, title, auto, contract=True, **rest)


EFFORTS = ("default", "low", "medium", "high")
LOSSES = ("cispo", "importance_sampling", "ppo_clip", "dual_clip", "gspo", "dppo")
ADVANTAGES = ("mean_centred", "rloo", "group_std", "reinforce_pp_baseline", "maxrl")

LEARNING: Topic = "Learning"
CREDIT: Topic = "Credit"


def _of_zero(name: str, title: str, reason: str, *, high: float, **rest: Any) -> Option:
    """An option that is off, at 0, unless somebody sets it."""
    return Option(name, title, _constant(0.0, reason), low=0, high=high, whole=False, **rest)


CREDIT_OPTIONS: tuple[Option, ...] = (
    Option(
        "advantage",
        "Advantage",
        _constant("mean_centred", "Unbiased by group spread."),
        choices=ADVANTAGES,
        topic=CREDIT,
    ),
    Option(
        "anchored_weight",
        "Weight of siblings at the same state",
        _constant(*ANCHORED_WEIGHT),
        low=0,
        high=MOST_WEIGHT,
        whole=False,
        topic=CREDIT,
    ),
    Option(
        "credit_gamma",
        "Discount a turn, for siblings",
        _constant(0.95, "The same reward a turn later counts 5 % less."),
        low=0,
        high=1,
        whole=False,
        topic=CREDIT,
    ),
    Option(
        "turn_weight",
        "Weight of turn scores",
        _constant(1.0, "Counts only with a turn grader or a gold answer."),
        low=0,
        high=MOST_WEIGHT,
        whole=False,
        topic=CREDIT,
    ),
    Option(
        "counterfactual_calls",
        "Calls a step measured by continuations",
        _constant(0, "Off: each one costs as many attempts as it has continuations."),
        low=0,
        high=256,
        topic=CREDIT,
    ),
    Option(
        "counterfactual_continuations",
        "Continuations before and after a call",
        _constant(4, "Enough to see a large effect."),
        low=2,
        high=64,
        topic=CREDIT,
    ),
    _of_zero(
        "counterfactual_weight",
        "Weight of continuations",
        "Measured and shown, not trained on.",
        high=MOST_WEIGHT,
        topic=CREDIT,
    ),
    _of_zero(
        "reasoning_penalty", "Cost of long reasoning", "Reasoning is free.", high=1, topic=CREDIT
    ),
    _of_zero("call_penalty", "Cost of many calls", "Calls are free.", high=1, topic=CREDIT),
    Option(
        "call_budget",
        "Calls that are free",
        _constant(4, "Counts only with a cost of many calls."),
        low=1,
        high=1000,
        topic=CREDIT,
    ),
)

OPTIONS: tuple[Option, ...] = (
    _contract("batch_size", "Tasks a step", _batch_size, low=1, high=256),
    _contract("n_epochs", "Passes over the tasks", _n_epochs, low=1, high=50),
    _contract(
        "learning_rate_multiplier",
        "Learning rate multiplier",
        _constant(1.0, "The usual rate for this size of model."),
        low=0.01,
        high=100,
        whole=False,
    ),
    _contract(
        "compute_multiplier",
        "Compute multiplier",
        _constant(1.0, "The usual number of attempts."),
        low=1e-5,
        high=10,
        above=True,
        whole=False,
    ),
    _contract(
        "reasoning_effort",
        "Reasoning effort",
        _constant("default", "Sets how long a turn may be."),
        choices=EFFORTS,
    ),
    Option("steps", "Steps", _steps, low=1, high=MOST_STEPS, topic=LEARNING),
    _contract("eval_interval", "Steps between evaluations", _eval_interval, low=1, high=MOST_STEPS),
    _contract("eval_samples", "Attempts a validation task", _eval_samples, low=1, high=64),
    Option("group_size", "Attempts a task", _group_size, low=2, high=256),
    Option(
        "learning_rate",
        "Learning rate",
        _learning_rate,
        low=1e-8,
        high=0.1,
        whole=False,
        topic=LEARNING,
    ),
    Option(
        "temperature",
        "Temperature",
        _constant(1.0, "What the maths assumes."),
        low=0.05,
        high=2,
        whole=False,
    ),
    Option(
        "max_turns",
        "Turns a trajectory",
        _constant(12, "Ten calls and an answer fit."),
        low=1,
        high=1000,
    ),
    Option("max_tool_calls", "Tool calls a trajectory", _tool_calls, low=1, high=1000),
    Option(
        "max_total_tokens",
        "Tokens a trajectory, with prompt",
        _total_tokens,
        low=16,
        high=MOST_TOKENS,
    ),
    Option("max_turn_tokens", "Sampled tokens a turn", _turn_tokens, low=1, high=MOST_TOKENS),
    Option(
        "max_sampled_tokens",
        "Sampled tokens a trajectory",
        _sampled_tokens,
        low=1,
        high=MOST_TOKENS,
    ),
    Option(
        "wall_s",
        "Seconds a trajectory",
        _constant(600.0, "Ten minutes."),
        low=1,
        high=86_400,
        whole=False,
    ),
    Option(
        "max_refills",
        "Refills of groups without signal",
        _constant(2, "Bounds the search for signal."),
        low=0,
        high=16,
    ),
    Option(
        "lora_rank",
        "LoRA rank",
        _constant(16, "Enough for reinforcement learning."),
        low=1,
        high=512,
        topic=LEARNING,
    ),
    Option("lora_alpha", "LoRA alpha", _lora_alpha, low=1, high=1024, topic=LEARNING),
    Option(
        "loss",
        "Loss",
        _constant("cispo", "Keeps a gradient for every token."),
        choices=LOSSES,
        topic=LEARNING,
    ),
    Option(
        "ratio_max",
        "Largest importance ratio",
        _constant(5.0, "The usual clip of CISPO."),
        low=1,
        high=100,
        whole=False,
        topic=LEARNING,
    ),
    _of_zero(
        "kl_weight",
        "Pull towards the base model",
        "No pull towards the base model.",
        high=MOST_WEIGHT,
        topic=LEARNING,
    ),
    Option("warmup_steps", "Warm-up steps", _warmup_steps, low=0, high=10_000, topic=LEARNING),
    Option(
        "micro_batch_tokens",
        "Tokens a micro-batch",
        _constant(16_384, "Fits a small GPU."),
        low=64,
        high=MOST_TOKENS,
        topic=LEARNING,
    ),
    Option(
        "keep_checkpoints",
        "Best checkpoints kept",
        _constant(3, "As the contract has it."),
        low=1,
        high=100,
        topic=LEARNING,
    ),
    *CREDIT_OPTIONS,
)
