"""Saves and restores a run: what the loop knows, the adapter and the optimiser."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from jobs.engine.control import ControlReader
from jobs.engine.errors import RunFailed
from jobs.engine.events import CheckpointRef
from jobs.engine.learning.checkpoint import (
    ADAPTER,
    OPTIMISER,
    CheckpointCorrupt,
    TrainingState,
    best_steps,
    checkpoint_files,
    folder_bytes,
    folder_name,
    parse_state,
    parse_tensors,
    prune,
    publish_folder,
    read_verified,
    remove_orphans,
)
from jobs.engine.learning.update import Learner
from jobs.engine.spec import Handshake, JobSpec

PLACES = ("model_path", "model_name", "run_id", "device", "steps", "server")
"""Fields of a spec that may differ when a run goes on elsewhere, or for longer."""


def config_hash(spec: JobSpec) -> str:
    """Of everything that decides how training goes on; file paths and its length do not."""
    fields = msgspec.to_builtins(spec)
    for name in PLACES:
        fields.pop(name, None)
    for split in ("train", "validation"):
        fields[split].pop("path")
    for tool in fields.get("tools", ()):
        tool.pop("url")
    (fields["lora"].get("start") or {}).pop("path", None)
    judge = (fields.get("credit", {}).get("turn_rewards") or {}).get("judge") or {}
    for name in ("url", "timeout_s", "max_concurrency"):
        judge.pop(name, None)
    return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


class Saver:
    """The checkpoints of one run."""

    def __init__(
        self,
        handshake: Handshake,
        learner: Learner,
        control: ControlReader,
        warn: Callable[[str, str], None],
    ) -> None:
        """`warn` takes a code and a sentence for the job's owner."""
        self._handshake = handshake
        self._learner = learner
        self._control = control
        self._warn = warn
        self.run_dir = Path(handshake.run_dir)
        self._root = self.run_dir / "checkpoints"
        known = (handshake.resume, *handshake.kept_checkpoints)
        self._manifests = {point.step: point.manifest_sha256 for point in known if point}

    def begin(self, *, tidy: bool = True) -> TrainingState:
        """The state to go on from. `tidy` removes the files of steps that were never committed."""
        handshake = self._handshake
        if handshake.resume is not None:
            state = self.load(
                self.run_dir / handshake.resume.path, handshake.resume.manifest_sha256
            )
        elif handshake.last_step >= 0:
            raise RunFailed(
                "checkpoint_missing",
                f"step {handshake.last_step} is done, and no checkpoint was given to resume from",
            )
        else:
            state = self._first_state()
        if tidy:
            remove_orphans(self.run_dir, handshake.last_step)
        return state

    def _first_state(self) -> TrainingState:
        spec = self._handshake.spec
        return TrainingState(
            step=-1,
            position=0,
            updates=0,
            seed=spec.seed,
            config_sha256=config_hash(spec),
            base_sha256=self._learner.policy.base_sha256,
        )

    def load(self, path: Path, manifest_sha256: str | None) -> TrainingState:
        """Verify a checkpoint, then put it into policy and optimiser."""
        files = read_verified(path, manifest_sha256)
        state = parse_state(path, files)
        for what, found, expected in (
            ("base model", state.base_sha256, self._learner.policy.base_sha256),
            ("job", state.config_sha256, config_hash(self._handshake.spec)),
        ):
            if found != expected:
                raise RunFailed(
                    "checkpoint_mismatch",
                    f"the checkpoint {path.name} belongs to another {what} "
                    f"({found[:12]}, expected {expected[:12]})",
                )
        self._learner.policy.adapter_load(parse_tensors(path, ADAPTER, files))
        self._learner.optimiser_load(parse_tensors(path, OPTIMISER, files))
        self._learner.updates = state.updates
        return state

    def load_best(self, state: TrainingState) -> int:
        """Put the sound checkpoint with the best validation reward into the policy."""
        candidates = best_steps(state.evaluations, len(state.evaluations)) or [state.step]
        present = [step for step in candidates if self.checkpoint_path(step).is_dir()]
        for step in present[:-1]:
            try:
                self.load(self.checkpoint_path(step), self._manifests.get(step))
            except CheckpointCorrupt as error:
                self._warn(
                    error.code,
                    f"The checkpoint of step {step}, the best so far, is damaged ({error.file}) "
                    "and was set aside. The next best one takes its place.",
                )
                continue
            return step
        last = (present or candidates)[-1]
        self.load(self.checkpoint_path(last), self._manifests.get(last))
        return last

    def save(self, state: TrainingState, validation_reward: float | None) -> CheckpointRef:
        """A complete checkpoint of this step; older ones that no longer count are removed."""
        policy = self._learner.policy
        files = checkpoint_files(
            policy.adapter_tensors(),
            policy.adapter_config(),
            self._learner.optimiser_tensors(),
            state,
        )
        path = self._root / folder_name(state.step)
        digest = publish_folder(path, files, step=state.step)
        self._manifests[state.step] = digest
        return CheckpointRef(
            step=state.step,
            path=f"checkpoints/{path.name}",
            manifest_sha256=digest,
            bytes=folder_bytes(path),
            validation_reward=validation_reward,
        )

    def kept(self, state: TrainingState) -> tuple[int, ...]:
        """Steps whose checkpoints stay for their validation reward."""
        return tuple(best_steps(state.evaluations, self._handshake.spec.keep_checkpoints))

    def tidy(self, state: TrainingState) -> None:
        """The database's word on what stays is the last one: a person may have kept a checkpoint
        or deleted one. Without it, what is best stays."""
        available = self._control.available
        prune(
            self._root,
            self.kept(state) if available is None else available,
            newest=state.step,
            committed=self._control.committed,
        )

    def checkpoint_path(self, step: int) -> Path:
        return self._root / folder_name(step)
