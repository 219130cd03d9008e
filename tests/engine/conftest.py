"""A tiny Qwen3 with random weights and one token a byte, small enough to train in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from jobs.engine.types import StopReason, ToolCall, Trajectory, Turn

torch.set_num_threads(1)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CONTROL = ["<tool_call>", "</tool_call>", "<think>", "</think>"]

CHAT_TEMPLATE = """\
{%- if tools -%}
<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user
{%- endif %}
<tool_response>
{{ message.content }}
</tool_response>
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>
{% endif -%}
{%- else -%}
<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>
{%- endfor -%}
<|im_end|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(SPECIAL + CONTROL + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(CONTROL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def save_random_model(folder: Path, kind: Any, config: Any, tokenizer: Any) -> None:
    """Weights large enough that the choice of a token matters."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of the hub: config, safetensors, tokenizer, chat template."""
    folder = tmp_path_factory.mktemp("tiny-qwen3")
    tokenizer = tiny_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    save_random_model(folder, Qwen3ForCausalLM, config, tokenizer)
    return folder


def trajectory(uid="t-1-0-0", reward=1.0, stop=StopReason.FINAL_ANSWER, calls=(), tokens=2, **more):
    """A rollout of one prompt token and `tokens` sampled ones; each call has a turn of its own."""
    turns = [
        Turn(index=place, start=1, end=2, text="", calls=[call]) for place, call in enumerate(calls)
    ]
    turns.append(Turn(index=len(turns), start=1, end=1 + tokens, text="42", content="42"))
    sampled = [0.0] + [-0.5] * tokens
    fields = {
        "row": 0,
        "group": "0",
        "sample": 0,
        "split": "train",
        "trace_id": "trace",
        "ids": [9] * (1 + tokens),
        "logprobs": sampled,
        "entropies": sampled,
        "kinds": [0] + [1] * tokens,
    }
    return Trajectory(uid=uid, turns=turns, reward=reward, stop=stop, **(fields | more))


def call(name="search", arguments="{}", output="found", status="ok", seconds=0.5, attempts=1):
    return ToolCall(
        id="c",
        name=name,
        arguments=arguments,
        output=output,
        status=status,
        seconds=seconds,
        attempts=attempts,
    )


@pytest.fixture
def make_trajectory():
    return trajectory


@pytest.fixture
def make_call():
    return call
