"""A tokenizer in which every word of a world is one token, and a chat template to go with it."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
MARKS = ("<|user|>", "<|bot|>", "<|tool|>")
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}{{ '<|user|>' + message.content + '<|end|>' }}"
    "{% elif message.role == 'assistant' %}{{ '<|bot|>' + message.content }}"
    "{% for call in message.tool_calls or [] %}"
    '{{ \'<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ (call.function.arguments | tojson) + '}\\n</tool_call>' }}{% endfor %}{{ '<|end|>' }}"
    "{% else %}{{ '<|tool|>' + message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|bot|>' }}{% endif %}"
)
"""Tool definitions are left out: the base knows its tools, and every token costs time."""


def make_tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows these pieces whole, and nothing else."""
    model = models.WordLevel({PAD: 0, UNKNOWN: 1}, unk_token=UNKNOWN)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([PAD, UNKNOWN, END])
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in (*MARKS, *pieces)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
