"""The README that travels with an adapter. Torch-free: the web process writes a checkpoint's."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Protocol

from jobs.engine.spec import JobSpec

_CARD = """\
---
library_name: peft
base_model: {quoted}
tags: [lora, reinforcement-learning, tool-use]
---

# LoRA adapter of run {run_id}, step {step}

Trained by reinforcement learning on {base}, with the tools: {tools}.

| | |
|---|---|
| mean validation reward before training (step 0) | {before} |
| mean validation reward of this adapter | {after} |
| training steps of the run{so_far} | {steps} |
| began with | {start} |
| rollouts a step | {groups} tasks x {size} |
| algorithm | {loss} with {advantage} advantages |
| LoRA | rank {rank}, alpha {alpha}, all linear layers |
| learning rate, seed | {rate}, {seed} |
| sha256 of the base model | {base_sha256} |

`MANIFEST.json` lists size and sha256 of each file. {proof}

The base model is named by its hub id, or as its server calls it: in the second case put the path
of your own copy in its place below. The sha256 above tells whether it is the same model.

## Load with PEFT

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({quoted})
tokenizer = AutoTokenizer.from_pretrained({quoted})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

## Serve with vLLM

```sh
vllm serve {shell} --enable-lora --max-lora-rank {max_rank} --lora-modules tuned=path/to/this/folder
```

Then ask for the model `tuned`.
"""

_PROVED = """\
`proof.json` holds trajectories with the
trainer's log-probabilities, and how far plain PEFT differs from them."""
_NOT_PROVED = """\
This is a checkpoint that was not proved:
nothing has compared its log-probabilities in plain PEFT with the trainer's."""

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class Trained(Protocol):
    """What a card tells of the engine's `TrainingState`."""

    @property
    def step(self) -> int: ...

    @property
    def base_sha256(self) -> str: ...

    @property
    def evaluations(self) -> Mapping[str, float]: ...


def model_card(spec: JobSpec, state: Trained, step: int, *, proved: bool = True) -> str:
    """The card of the adapter of `step`; one that was not proved is a checkpoint's."""
    base = spec.base_name
    return _CARD.format(
        base=base,
        quoted=json.dumps(base, ensure_ascii=False),
        shell=shlex.quote(base),
        run_id=spec.run_id,
        step=step,
        tools=", ".join(tool.name for tool in spec.tools) or "none",
        before=_reward(state, 0),
        after=_reward(state, step),
        so_far="" if proved else " so far",
        steps=state.step,
        start=_start(spec),
        proof=_PROVED if proved else _NOT_PROVED,
        groups=spec.groups_per_step,
        size=spec.group_size,
        loss=spec.loss.name,
        advantage=spec.credit.advantage,
        rank=spec.lora.rank,
        alpha=spec.lora.alpha,
        rate=spec.learning_rate,
        seed=spec.seed,
        base_sha256=state.base_sha256,
        max_rank=next((rank for rank in VLLM_RANKS if rank >= spec.lora.rank), VLLM_RANKS[-1]),
    )


def _start(spec: JobSpec) -> str:
    start = spec.lora.start
    if start is None:
        return "the base model"
    return f"the checkpoint of step {start.step} of {start.job}, with a fresh optimiser"


def _reward(state: Trained, step: int) -> str:
    reward = state.evaluations.get(str(step))
    return "not measured" if reward is None else f"{reward:.3f}"
