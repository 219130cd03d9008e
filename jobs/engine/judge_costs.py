"""What the judges of a run were asked in a step, and what that cost."""

from __future__ import annotations

import torch

from graders.kinds.base import TokenUsage
from graders.kinds.judging.judges import Judges, Spending
from jobs.engine.ranks import Ranks


def judge_stats(judges: Judges, ranks: Ranks) -> dict[str, dict[str, float]]:
    """By model as specs name it, of all ranks, since the last time; empty without judges.

    Every question counts, also those of attempts that were thrown away.
    """
    models = sorted(judges.endpoints)
    if not models:
        return {}
    spent = judges.take_spent()
    table = torch.tensor(
        [_row(spent.get(model, Spending())) for model in models], dtype=torch.float64
    )
    ranks.add_up([table])
    return {
        model: _figures(judges, model, [int(figure) for figure in row.tolist()])
        for model, row in zip(models, table, strict=True)
    }


def judge_totals(judges: Judges, ranks: Ranks) -> dict[str, float]:
    """All models together, in the words of a job's usage; empty without judges."""
    stats = list(judge_stats(judges, ranks).values())
    if not stats:
        return {}
    return {
        "judge_calls": sum(each["calls"] for each in stats),
        "judge_tokens": sum(each["prompt_tokens"] + each["completion_tokens"] for each in stats),
        "judge_cost": sum(each["cost"] for each in stats),
    }


def _row(spent: Spending) -> list[int]:
    usage = spent.usage
    return [
        spent.calls,
        spent.failed,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
    ]


def _figures(judges: Judges, model: str, row: list[int]) -> dict[str, float]:
    calls, failed, prompt, completion, cached = row
    usage = TokenUsage(prompt_tokens=prompt, completion_tokens=completion)
    return {
        "calls": calls,
        "failed": failed,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "cost": judges.endpoints[model].cost(usage),
    }
