"""What a job has cost and will have cost at its end, in one sentence."""

from __future__ import annotations

from django.conf import settings

from hone.core import figures
from jobs.models import Job
from jobs.selectors.forecast import TimeLeft
from jobs.selectors.usage import Sums

HOUR_S = 3600.0


def cost_sentence(job: Job, spent: Sums, left: TimeLeft | None) -> str:
    """So far and, where the time left is known, at the end; `unknown` where a price is missing."""
    if not spent.steps:
        return ""
    engine = f"{figures.duration(spent.seconds)} of the engine"
    price: float | None = settings.HOUR_PRICE
    if price is None:
        return f"Cost so far: unknown, no hourly price is set ({engine})."
    if spent.cost is None:
        return f"Cost so far: unknown, no price is set for the judges ({engine})."
    now = price * spent.seconds / HOUR_S + spent.cost
    said = f"Cost so far: {_money(now)} ({engine}"
    said += f", judges {_money(spent.cost)})." if spent.judge_calls else ")."
    if left is None:
        return said
    judges = now + spent.cost / spent.steps * max(0, job.total_steps - job.last_step)
    end = f"{said} At the end: about {_money(judges + price * left.middle / HOUR_S)}"
    if left.low is None or left.high is None:
        return f"{end}."
    low, high = (_money(judges + price * each / HOUR_S) for each in (left.low, left.high))
    return f"{end} ({low} to {high})."


def _money(amount: float) -> str:
    return f"{amount:.2f}{figures.THIN}{settings.CURRENCY}"
