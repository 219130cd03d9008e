"""Loads an exported adapter with plain PEFT and compares its log-probabilities with the trainer's.

`python -m jobs.engine.prove FOLDER BASE_MODEL` prints one JSON object. It shares no code with the
trainer.
Shapes: T = tokens of one trajectory, V = vocabulary.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def largest_difference(folder: Path, base_model: str) -> tuple[float, int, float]:
    """The largest absolute difference of a log-probability from the trainer's, how many were
    compared, and the largest one from the base model's."""
    proof: dict[str, Any] = json.loads((folder / "proof.json").read_text())
    base: Any = AutoModelForCausalLM.from_pretrained(
        base_model,
        dtype=getattr(torch, proof["dtype"]),
        use_safetensors=True,
        trust_remote_code=False,
    )
    model: Any = PeftModel.from_pretrained(base.to(proof["device"]), folder).eval()
    worst, tokens, from_base = 0.0, 0, 0.0
    for case in proof["trajectories"]:
        ids_1T = torch.tensor([case["ids"]], device=proof["device"])
        places = torch.tensor(case["places"], device=proof["device"])
        found = _logprobs(model, ids_1T, places, proof["temperature"])
        with model.disable_adapter():
            base_says = _logprobs(model, ids_1T, places, proof["temperature"])
        difference = (found - torch.tensor(case["logprobs"])).abs().max().item()
        worst = max(worst, difference) if math.isfinite(difference) else math.inf
        from_base = max(from_base, (found - base_says).abs().max().item())
        tokens += len(case["places"])
    return worst, tokens, from_base


def _logprobs(model: Any, ids_1T: torch.Tensor, places: torch.Tensor, heat: float) -> torch.Tensor:
    with torch.no_grad():
        logits_TV = model(input_ids=ids_1T).logits[0].float() / heat
    return torch.log_softmax(logits_TV, dim=-1)[places - 1, ids_1T[0, places]].cpu()


def main() -> None:
    torch.set_num_threads(1)
    worst, tokens, from_base = largest_difference(Path(sys.argv[1]), sys.argv[2])
    found = {"max_abs_diff": worst, "tokens": tokens, "max_abs_diff_from_base": from_base}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
