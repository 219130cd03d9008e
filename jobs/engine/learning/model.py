"""The policy: a base model from safetensors with a fresh LoRA adapter on all its linear layers."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from jobs.engine.errors import RunFailed
from jobs.engine.host_memory import host_memory
from jobs.engine.spec import JobSpec

ROOM_FOR_WORK = 1.3
"""Weights take this factor of their size while they are loaded and used."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The model that is sampled and trained; only the adapter's weights have gradients."""

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    base_name: str
    base_sha256: str
    context_length: int

    @property
    def trainable(self) -> list[tuple[str, torch.nn.Parameter]]:
        """The adapter's parameters in a fixed order, by name."""
        found = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        return sorted(found, key=lambda pair: pair[0])

    def parameter_counts(self) -> tuple[int, int]:
        """All parameters and the trainable ones."""
        total = sum(parameter.numel() for parameter in self.model.parameters())
        return total, sum(parameter.numel() for _, parameter in self.trainable)

    def adapter_tensors(self) -> dict[str, Tensor]:
        """The adapter's weights under the names of PEFT's files, in fp32 on the CPU."""
        tensors = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {
            name: tensors[name].detach().to("cpu", torch.float32, copy=True).contiguous()
            for name in sorted(tensors)
        }

    def adapter_load(self, tensors: dict[str, Tensor]) -> None:
        result: Any = set_peft_model_state_dict(self.model, tensors)
        missing = [name for name in result.missing_keys if "lora_" in name]
        if missing or result.unexpected_keys:
            wrong = (missing + list(result.unexpected_keys))[0]
            raise RunFailed("checkpoint_mismatch", f"the adapter does not fit the model at {wrong}")

    def adapter_config(self) -> dict[str, Any]:
        """What PEFT needs beside the weights, in an order that does not change."""
        config = dict(self.model.peft_config["default"].to_dict())
        config["inference_mode"] = True
        config["base_model_name_or_path"] = self.base_name
        return {name: _plain(config[name]) for name in sorted(config)}


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", value)


def load_policy(spec: JobSpec) -> Policy:
    """Load base model and tokenizer, and add an adapter that changes nothing yet (B = 0)."""
    device = _device(spec.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    name = spec.model_path
    config = _read(name, AutoConfig.from_pretrained)
    tokenizer = _read(name, AutoTokenizer.from_pretrained)
    if not getattr(tokenizer, "chat_template", None):
        raise RunFailed(
            "template_refused",
            f"the tokenizer of {name} has no chat template, so conversations with tools cannot "
            "be written for it; use an instruction-tuned model",
        )
    _check_memory(config, name, device, dtype)
    base = _read(name, AutoModelForCausalLM.from_pretrained, dtype=dtype, use_safetensors=True)
    base.requires_grad_(False)
    return Policy(
        model=_with_adapter(base.to(device), spec),
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        base_name=spec.base_name,
        base_sha256=_base_hash(name, config),
        context_length=int(getattr(config, "max_position_embeddings", 0) or 4096),
    )


def adapter_anew(policy: Policy, spec: JobSpec) -> Policy:
    """The same base model as `load_policy` would give it for `spec`; the old policy is spent."""
    return replace(policy, model=_with_adapter(policy.model.unload(), spec))


def _with_adapter(base: Any, spec: JobSpec) -> PeftModel:
    lora = LoraConfig(
        r=spec.lora.rank,
        lora_alpha=spec.lora.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        model = get_peft_model(base, lora)
    # No module of a policy may behave differently in sampling and in training.
    return model.eval()


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RunFailed(
            "no_cuda",
            "device is “cuda”, and this machine offers no CUDA device; use “auto” or “cpu”",
            permanent=False,
        )
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def _read(name: str, read: Any, **options: Any) -> Any:
    """Call one of transformers' `from_pretrained`; code from the hub is never run."""
    try:
        return read(name, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise _load_failure(name, error) from error


def _load_failure(name: str, error: Exception) -> RunFailed:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(found, GatedRepoError) for found in causes) or "gated repo" in str(error):
        return RunFailed(
            "model_gated",
            f"the model {name} is gated: accept its terms on the hub and give this server a token "
            "that may read it, or use a local folder",
        )
    if "trust_remote_code" in str(error):
        return RunFailed(
            "model_needs_code", f"the model {name} needs code of its own, which is never run here"
        )
    unknown = any(isinstance(found, RepositoryNotFoundError) for found in causes)
    permanent = unknown or Path(name).is_absolute() or isinstance(error, ValueError)
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return RunFailed(
        "model_not_found",
        f"the model {name} cannot be loaded: {first_line} Check the folder or the hub id; the "
        "weights must be safetensors files.",
        permanent=permanent,
    )


def _check_memory(config: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a model whose weights cannot fit, before its gigabytes are read."""
    with torch.device("meta"):
        build: Any = AutoModelForCausalLM.from_config
        count = sum(parameter.numel() for parameter in build(config).parameters())
    needed = math.ceil(count * dtype.itemsize * ROOM_FOR_WORK)
    free = free_memory(device)
    if needed > free:
        raise RunFailed(
            "model_too_large",
            f"the model {name} has {count / 1e9:.1f} billion parameters and needs about "
            f"{needed / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')}, and "
            f"{free / 1e9:.1f} GB are free on {device.type}; use a smaller model or a larger "
            "machine",
        )


def free_memory(device: torch.device) -> int:
    """Bytes that a new model could take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return host_memory().free


def _base_hash(name: str, config: Any) -> str:
    """Of the weights' bytes for a folder, of the commit for a hub id."""
    digest = hashlib.sha256()
    folder = Path(name)
    if not folder.is_dir():
        digest.update(f"{name}@{getattr(config, '_commit_hash', None)}".encode())
        return digest.hexdigest()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
