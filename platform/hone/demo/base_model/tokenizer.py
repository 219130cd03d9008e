"""The tiny model's tokenizer: byte-level BPE over the demo's world, digits one by one.

Words never carry their blank, so that a name is the same token in a question, in a document and
in a call: what the model copies, it copies token by token. Any text encodes, by bytes if need be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from hone.demo.world.tools import definitions

VOCABULARY = 768
END = "<|im_end|>"
PAD = "<|endoftext|>"
SPECIAL = (PAD, "<|im_start|>", END)
MARKS = (
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>", "<tools>", "</tools>"),
    *('{"name": "', '", "arguments": {"', '": "', '"}}'),
    *(json.dumps(tool) for tool in definitions()),
)
"""What is one token each; the demo's three tool schemas too, which keeps its prompts short."""
PIECES = Regex(r"[A-Za-z]+|[0-9]|\s|[^\sA-Za-z0-9]+")


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer for these texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    template = Path(__file__).with_name("chat_template.jinja").read_text()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=template,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
