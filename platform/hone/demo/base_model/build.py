"""Builds the demo's tiny base model: `python -m hone.demo.base_model.build`. Seeded; CPU only.

Tokenizer and model learn from texts of our own. It ends with a probe of every right step, by
teacher forcing, which is stored beside the weights; a model that can hardly find a step, or hardly
write what it began, is refused. `--probe-only` measures the weights that are there.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from hone.demo.base_model import PROBE, WEIGHTS
from hone.demo.base_model.examples import Writer, random_question
from hone.demo.base_model.probe import probe, weaknesses
from hone.demo.base_model.teacher import PERFECT, perform
from hone.demo.base_model.tokenizer import train_tokenizer
from hone.demo.base_model.train import new_model, train

log = logging.getLogger(__name__)


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Trains the tokenizer on texts of the world."""
    dice = random.Random(seed)
    texts = ["system user assistant tool search read calculate query document expression"] * 50
    for _ in range(4000):
        firm, question = random_question(dice)
        episode = perform(firm, question, PERFECT, dice)
        texts += [question.text, *episode.written, *episode.results]
    return train_tokenizer(texts)


def build(folder: Path, *, seed: int, steps: int) -> list[dict[str, Any]]:
    """Make the model folder; returns the probe's table."""
    tokenizer = build_tokenizer(seed)
    model = new_model(tokenizer, seed)
    log.info("%d parameters, %d tokens", model.num_parameters(), len(tokenizer))
    train(model, Writer(tokenizer), steps=steps, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return probe_folder(folder, seed=seed)


def probe_folder(folder: Path, *, seed: int) -> list[dict[str, Any]]:
    """Probe the weights of the folder; returns the table, which is stored beside them."""
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()  # type: ignore[no-untyped-call]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    table = probe(model, Writer(tokenizer), random.Random(seed + 1))
    (folder / PROBE).write_text(json.dumps(table, indent=1) + "\n")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the demo's tiny base model.")
    parser.add_argument("--folder", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--probe-only", action="store_true", help="measure the weights once more")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    if options.probe_only:
        table = probe_folder(options.folder, seed=options.seed)
    else:
        table = build(options.folder, seed=options.seed, steps=options.steps)
    for row in table:
        log.info("%s", row)
    if weak := weaknesses(table):
        raise SystemExit("\n".join(weak))


if __name__ == "__main__":
    main()
