"""One run over several processes, started by torchrun: each rolls out and learns whole groups.

Every process knows all trajectories of a step, so credit, refills and pauses are decided alike
everywhere without a word. Only gradients and the learner's sums are added up. The first process
alone hears the supervisor, writes files and reports.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import msgspec
import torch
import torch.distributed as dist
from torch import Tensor

from jobs.engine.errors import RunFailed, RunPaused
from jobs.engine.types import Trajectory

PATIENCE = timedelta(days=2)
"""One process may wait for the tools of another for as long as a job may be paused by them."""


Ending = RunFailed | RunPaused
"""Why a rank cannot go on; the others are told, and the first tells the supervisor."""


class Grouped(Protocol):
    """A rollout, or the request for one."""

    @property
    def group(self) -> str: ...


Item = TypeVar("Item", bound=Grouped)


class Ranks(Protocol):
    """Who else works on this run."""

    index: int
    count: int

    def broadcast(self, value: Any) -> Any:
        """What the first rank has."""
        ...

    async def gather(
        self, own: Sequence[Trajectory], failure: Ending | None = None
    ) -> list[Trajectory]:
        """Everybody's rollouts, by rank; raises where one of them failed."""
        ...

    def collect(self, value: Any) -> list[Any]:
        """What each rank has, by rank."""
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks, the same to the bit on each."""
        ...


def owners(groups: Iterable[str], count: int) -> dict[str, int]:
    """Whole groups by turns: which rank a group belongs to."""
    return {group: place % count for place, group in enumerate(dict.fromkeys(groups))}


def own_share(ranks: Ranks, items: Sequence[Item]) -> list[Item]:
    """Those of `items` whose groups are this rank's."""
    owner = owners((item.group for item in items), ranks.count)
    return [item for item in items if owner[item.group] == ranks.index]


def as_ending(error: Exception) -> Ending:
    """What the others are told of an error of this process; its log has all of it."""
    if isinstance(error, Ending):
        return error
    traceback.print_exception(error, file=sys.stderr)
    return RunFailed("engine_error", f"{type(error).__name__}: {error}", permanent=False)


class Alone:
    """A run in one process."""

    index = 0
    count = 1

    def broadcast(self, value: Any) -> Any:
        return value

    async def gather(
        self, own: Sequence[Trajectory], failure: Ending | None = None
    ) -> list[Trajectory]:
        if failure is not None:
            raise failure
        return list(own)

    def collect(self, value: Any) -> list[Any]:
        return [value]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        return


class TorchRanks:
    """The processes of torchrun; gloo for objects and CPU tensors, NCCL for those on GPUs."""

    def __init__(self) -> None:
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
        self.index, self.count = dist.get_rank(), dist.get_world_size()

    def broadcast(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    async def gather(
        self, own: Sequence[Trajectory], failure: Ending | None = None
    ) -> list[Trajectory]:
        mine = (msgspec.msgpack.encode(list(own)), failure)
        boxes = await asyncio.to_thread(self.collect, mine)
        for _, told in boxes:
            if told is not None:
                raise told
        parts = [msgspec.msgpack.decode(packed, type=list[Trajectory]) for packed, _ in boxes]
        return [trajectory for part in parts for trajectory in part]

    def collect(self, value: Any) -> list[Any]:
        boxes: list[Any] = [None] * self.count
        dist.all_gather_object(boxes, value)
        return boxes

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        place = 0
        for tensor in tensors:
            tensor.copy_(flat[place : place + tensor.numel()].view_as(tensor))
            place += tensor.numel()


def ranks_of(environment: Mapping[str, str]) -> Ranks:
    """torchrun says in the environment how many processes there are."""
    return TorchRanks() if int(environment.get("WORLD_SIZE", "1")) > 1 else Alone()
