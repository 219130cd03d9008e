"""TRL's side: GRPOTrainer 1.16 on the ledger desk, in a process of its own.

`python -m benchmarks.engine.trl_side --port 8765 --threads 2`; the last line it prints is JSON.
TRL's algorithm is at its defaults (DAPO loss, advantages over the group's standard deviation). Off
are gradient checkpointing, bf16, logging and checkpoints, all of which only cost time here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any

import msgspec
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl.chat_template_utils import qwen3_template
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from benchmarks.engine import world
from benchmarks.engine.desk import Reward, async_desk, blocking_desk
from benchmarks.engine.runs import ToTarget, Work
from benchmarks.engine.validation import Validation
from datasets import Dataset
from graders.sandbox.client import PythonSandbox
from hone.demo.world.tools import definitions


class Timed(GRPOTrainer):
    """Times what Hone's rollouts are: generation with its tools, and the grading."""

    rollout_s = 0.0
    done: dict[str, float]

    def _generate(self, prompts: list[Any]) -> Any:
        begun = time.monotonic()
        made = super()._generate(prompts)
        self.rollout_s = time.monotonic() - begun
        masks, completions = made[2], made[3]
        calls = sum(message["role"] == "tool" for rollout in completions for message in rollout)
        self.done = {
            "rollouts": len(completions),
            "sampled_tokens": sum(map(sum, masks)) / len(completions),
            "tool_calls": calls / len(completions),
        }
        return made

    def _calculate_rewards(self, *arguments: Any) -> torch.Tensor:
        begun = time.monotonic()
        rewards: torch.Tensor = super()._calculate_rewards(*arguments)
        self.rollout_s += time.monotonic() - begun
        self.done["reward"] = float(rewards.nanmean())
        return rewards


class Watch(TrainerCallback):
    """Takes the time of every step, and of none of the evaluations between them."""

    def __init__(self, validation: Validation | None, options: argparse.Namespace) -> None:
        self.trainer: Timed | None = None
        self.works: list[Work] = []
        self.curve: list[tuple[int, float, float]] = []
        self.reached = False
        self._validation = validation
        self._options = options
        self._spent = 0.0
        self._since = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._evaluate(0)
        self._since = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer is not None
        seconds = time.monotonic() - self._since
        self._spent += seconds
        done: Any = self.trainer.done
        self.works.append(
            Work(rollout_s=self.trainer.rollout_s, step_s=seconds, peak_bytes=0, **done)
        )
        if state.global_step % self._options.every == 0:
            self._evaluate(state.global_step)
        over = self._validation is not None and self._spent > self._options.limit
        control.should_training_stop |= self.reached or over
        self._since = time.monotonic()

    def _evaluate(self, step: int) -> None:
        if self._validation is None or self.trainer is None:
            return
        reward = self._validation.reward(self.trainer.model, step)
        self.curve.append((step, self._spent, reward))
        self.reached = reward >= self._options.target

    def to_target(self) -> ToTarget:
        seconds = self._spent if self.reached else self._options.limit
        return ToTarget(self.reached, seconds, self.curve[-1][0], self.curve)


def dataset(steps: int) -> Dataset:
    rows = world.tasks_in_order(steps * world.GROUPS)
    return Dataset.from_list([{"prompt": row["messages"], "item": json.dumps(row)} for row in rows])


def settings(options: argparse.Namespace, folder: str, learning_rate: float) -> GRPOConfig:
    return GRPOConfig(
        output_dir=folder,
        max_steps=options.steps,
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=world.ROLLOUTS // options.batch,
        num_generations=world.GROUP_SIZE,
        max_completion_length=world.COMPLETION_TOKENS,
        generation_kwargs={"max_new_tokens": world.TURN_TOKENS},
        max_tool_calling_iterations=world.TOOL_ROUNDS,
        temperature=world.TEMPERATURE,
        learning_rate=learning_rate,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        seed=world.SEED,
        shuffle_dataset=False,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def train(options: argparse.Namespace) -> Watch:
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(world.MODEL)
    # TRL knows this format of calls by the templates of Qwen alone, and this one is another.
    tokenizer.response_template = qwen3_template
    desk = async_desk if options.tools == "async" else blocking_desk
    learning_rate = world.LEARNING_RATE if options.target else world.STANDING_STILL
    validation = Validation(tokenizer) if options.target else None
    watch = Watch(validation, options)
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder, PythonSandbox() as sandbox:
        watch.trainer = Timed(
            model=AutoModelForCausalLM.from_pretrained(world.MODEL, dtype=torch.float32),
            processing_class=tokenizer,
            reward_funcs=[Reward(sandbox, tokenizer.eos_token_id)],
            environment_factory=desk(options.port),
            args=settings(options, folder, learning_rate),
            train_dataset=dataset(options.steps),
            peft_config=LoraConfig(
                r=world.LORA.rank,
                lora_alpha=world.LORA.alpha,
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
            callbacks=[watch],
        )
        # The schemas that TRL reads off the methods say more than the demo's. The model was made
        # with the demo's and is lost without them, so both sides show it the same.
        watch.trainer._env_tools[None] = definitions()
        watch.trainer.train()
    return watch


def main() -> None:
    parser = argparse.ArgumentParser(description="GRPOTrainer on the ledger desk.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tools", choices=["sync", "async"], default="sync")
    parser.add_argument("--batch", type=int, default=world.ROLLOUTS)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--target", type=float, default=0.0, help="train until this reward")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds, with --target")
    parser.add_argument("--every", type=int, default=4, help="steps between evaluations")
    options = parser.parse_args()
    watch = train(options)
    found = watch.to_target() if options.target else watch.works
    print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main()
