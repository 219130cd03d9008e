"""A small byte-level tokenizer, and chat templates in the stock formats of four families."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "templates"
CHATML = ["<|im_start|>", "<|im_end|>"]
MARKS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
LLAMA = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"]
MISTRAL = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "</s>"]
END = {"qwen3": "<|im_end|>", "hermes": "<|im_end|>", "llama": "<|eot_id|>", "mistral": "</s>"}


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Makes the tokenizer with one of the templates in the stock format, by name."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(["the tool response user assistant name arguments search"], trainer)
    raw.add_special_tokens(["<s>", *CHATML, *LLAMA, *MISTRAL])
    raw.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])

    def make(name: str) -> PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=raw, bos_token="<s>", eos_token=END[name]
        )
        tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
        return tokenizer

    return make
