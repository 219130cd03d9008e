"""Recognises errors that mean "no memory left", and says what a job can do about it."""

from __future__ import annotations

import errno

import torch

_WORDS = ("not enough memory", "allocate memory", "out of memory")
"""Allocators of torch for the CPU, and CUDA outside the caching allocator, raise RuntimeError."""
_SHOWN = 300


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def out_of_memory_text(error: BaseException) -> str:
    """What happened and which settings to lower."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"Memory ran out ({said[:_SHOWN].rstrip('. ')}). Lower micro_batch_tokens first, then "
        "max_total_tokens, group_size or lora_rank, or take a smaller model, and clone the job."
    )
