"""Information gain: how much likelier each turn made the gold answer, by the policy itself.

Shapes: B = histories of a batch, T = tokens of the longest with its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import torch

from graders.kinds.base import GraderSpecError
from graders.kinds.templates import MissingVariable, Template, look_up, parse_path
from jobs.engine.credit.base import is_graded
from jobs.engine.credit.process import information_gain
from jobs.engine.learning.logprobs import token_logprobs
from jobs.engine.learning.model import Policy
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.turn_rewards import Scores, TurnScore, note_scores, unscored
from jobs.engine.types import Task, TokenKind, Trajectory

OPEN_THOUGHT, CLOSE_THOUGHT = "<think>\n", "\n</think>\n\n"

Row = tuple[tuple[int, ...], tuple[int, ...]]
"""A history up to where the answer would begin, and the answer's tokens."""


class GoldTurnScores:
    """Gains towards one template's gold answer. Only between rollouts and updates: it uses the
    model in the caller's thread."""

    def __init__(
        self,
        policy: Policy,
        renderer: ChatRenderer,
        template: str,
        *,
        token_budget: int = 16384,
    ) -> None:
        """`token_budget`: the most tokens of one forward pass, padding included."""
        self._policy = policy
        self._renderer = renderer
        self._template = Template(template, param="gold")
        foreign = [v for v in self._template.variables() if parse_path(v)[0] != "item"]
        if foreign:
            raise GraderSpecError("gold", f"{{{{{foreign[0]}}}}} is no part of the row.")
        self._token_budget = token_budget

    async def score(self, trajectories: Sequence[Trajectory], tasks: Mapping[int, Task]) -> Scores:
        scores = unscored(trajectories)
        wanted: dict[str, list[Row]] = {}
        for member in trajectories:
            if member.turns and is_graded(member):
                wanted[member.uid] = self._rows(member, tasks[member.row])
        logprobs = await self._logprobs({row for own in wanted.values() for row in own})
        for member in trajectories:
            if member.uid in wanted:
                rows = wanted[member.uid]
                gains = information_gain([logprobs[row] for row in rows])
                scores[member.uid] = note_scores(member, _per_turn(gains, rows, member))
        return scores

    def gold_answer(self, task: Task) -> str:
        """Empty where the row has none."""
        namespaces = {"item": task.item}
        try:
            values = [
                look_up(variable, parse_path(variable), namespaces)
                for variable in self._template.variables()
            ]
        except MissingVariable:
            return ""
        return "" if None in values else self._template.render(namespaces).strip()

    def _rows(self, trajectory: Trajectory, task: Task) -> list[Row]:
        """One a history: the prompt, then each turn with its results. Those that leave the model's
        context no room for the answer are left out, and all after them with them."""
        answer = self.gold_answer(task)
        if not answer:
            return []
        gold = self._encode(answer, split_special_tokens=True)
        thinks = any(turn.reasoning for turn in trajectory.turns)
        rows: list[Row] = []
        for cut in history_ends(trajectory):
            history = trajectory.ids[:cut]
            history += self._encode(self._before_answer(history, thinks=thinks))
            if len(history) + len(gold) > self._policy.context_length:
                break
            rows.append((tuple(history), tuple(gold)))
        return rows

    def _before_answer(self, history: Sequence[int], *, thinks: bool) -> str:
        """What ends a thought, as no answer stands inside of one; who thinks had an empty one."""
        if self._renderer.leaves_thought_open(history):
            return CLOSE_THOUGHT
        return OPEN_THOUGHT + CLOSE_THOUGHT if thinks else ""

    def _encode(self, text: str, **options: bool) -> list[int]:
        encoded = self._policy.tokenizer(text, add_special_tokens=False, **options)
        return list(encoded["input_ids"])

    async def _logprobs(self, rows: Iterable[Row]) -> dict[Row, list[float]]:
        """Of the answers' tokens; siblings share their prompt's row."""
        found: dict[Row, list[float]] = {}
        for batch in _batches(rows, self._token_budget):
            found |= zip(batch, self._forward(batch), strict=True)
            # A chance for others, such as a cancellation.
            await asyncio.sleep(0)
        return found

    @torch.no_grad()
    def _forward(self, batch: Sequence[Row]) -> list[list[float]]:
        shape = (len(batch), _length(batch[0]))
        ids_BT = torch.zeros(shape, dtype=torch.long)
        mask_BT = torch.zeros(shape, dtype=torch.bool)
        for place, (history, gold) in enumerate(batch):
            end = len(history) + len(gold)
            ids_BT[place, :end] = torch.tensor(history + gold)
            mask_BT[place, len(history) : end] = True
        device = self._policy.device
        # At temperature 1, whatever the rollouts are sampled at: what the policy believes.
        logprobs_N, _ = token_logprobs(
            self._policy.model, ids_BT.to(device), mask_BT.to(device), temperature=1.0
        )
        sizes = [len(gold) for _, gold in batch]
        return [part.tolist() for part in torch.split(logprobs_N.float().cpu(), sizes)]


def history_ends(trajectory: Trajectory) -> list[int]:
    """Where the model's next turn begins: after the prompt, and after each turn's results.

    The last turn counts only where results follow it, as when a limit ended the rollout there.
    """
    last = trajectory.turns[-1]
    ends = [turn.start for turn in trajectory.turns]
    return [*ends, len(trajectory.ids)] if TokenKind.TOOL in trajectory.kinds[last.end :] else ends


def _length(row: Row) -> int:
    return len(row[0]) + len(row[1])


def _batches(rows: Iterable[Row], token_budget: int) -> list[list[Row]]:
    """Longest first; a row longer than the budget goes alone."""
    batches: list[list[Row]] = []
    # By their tokens too, so that equal runs make equal batches.
    for row in sorted(rows, key=lambda row: (-_length(row), row)):
        if batches and (len(batches[-1]) + 1) * _length(batches[-1][0]) <= token_budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _per_turn(
    gains: Sequence[float], rows: Sequence[Row], trajectory: Trajectory
) -> list[TurnScore]:
    if not rows:
        why = "the row has no gold answer, or the context no room for it"
    elif len(rows) < len(history_ends(trajectory)):
        why = "the context has no room for the gold answer after this turn"
    else:
        why = "no results of tools follow this turn"
    missing = len(trajectory.turns) - len(gains)
    return [TurnScore(gain) for gain in gains] + [TurnScore(None, why)] * missing
