"""Running out of memory is told apart from other failures, and names what to lower."""

from __future__ import annotations

import errno

import pytest
import torch

from jobs.engine.__main__ import terminal_event

ADVICE = (
    "Lower micro_batch_tokens first, then max_total_tokens, group_size or lora_rank, or take a "
    "smaller model, and clone the job."
)
CPU = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "CUDA out of memory. Tried to allocate 2.00 GiB",
        ),
        (RuntimeError("CUDA error: out of memory\nAdvice"), "CUDA error: out of memory"),
        (RuntimeError(CPU), CPU),
        (RuntimeError("not enough memory: 9 bytes wanted."), "not enough memory: 9 bytes wanted"),
        (MemoryError(), "MemoryError"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "[Errno 12] Cannot allocate memory"),
    ],
)
def test_memory_that_ran_out_is_a_permanent_failure_that_says_what_to_lower(error, said):
    last = terminal_event(error)
    assert (last.code, last.permanent) == ("out_of_memory", True)
    assert last.text == f"Memory ran out ({said}). {ADVICE}"


def test_an_allocation_that_torch_itself_refuses_is_recognised():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert terminal_event(refused.value).code == "out_of_memory"


@pytest.mark.parametrize(
    "error", [RuntimeError("the weights changed"), ValueError("out of memory"), OSError(5, "I/O")]
)
def test_other_errors_are_no_lack_of_memory(error, capsys):
    last = terminal_event(error)
    assert (last.code, last.permanent) == ("engine_error", False)
    assert type(error).__name__ in capsys.readouterr().err
