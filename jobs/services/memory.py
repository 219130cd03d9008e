"""Whether a model is likely to fit: a rough figure against this machine's memory."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.engine.host_memory import host_memory
from jobs.models import BaseModel
from jobs.services.hyperparameters import Setting
from jobs.services.request import Check

BYTES_FP32 = 4
OVERHEAD = 1.5
GB = 1e9


def memory_needed(parameters: int) -> float:
    """Bytes for the weights in float32 on a CPU, with room for adapter and activations."""
    return parameters * BYTES_FP32 * OVERHEAD


def memory_check(model: BaseModel | None, settings: list[Setting]) -> Iterator[Check]:
    """A warning where the model is larger than this machine; workers may be larger."""
    if model is None or not model.parameters:
        return
    needed, here = memory_needed(model.parameters), host_memory().total
    if needed > here:
        sentence = (
            f"{model.name} needs about {needed / GB:.1f} GB in float32; this machine has "
            f"{here / GB:.1f} GB. It fits only on a larger worker or a GPU."
        )
        yield Check("Memory", "warning", sentence, "base_model", "memory")
    else:
        yield Check("Memory", "ok", f"About {needed / GB:.2g} GB of {here / GB:.1f} GB.")
