"""How much there is, and for how long it is looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LONG = "refunds, a very long job"
RARE = "zirconium"
"""A word that one answer in a thousand holds."""
LONG_END = "Here the long trajectory ends."
FACTS = "facts.json"
"""The file in the data folder that says what can be looked at."""


@dataclass(frozen=True)
class Facts:
    """Ids of what the seeded database holds."""

    job: str
    short_job: str
    members: list[str]
    """E-mail addresses of the viewers and visitors."""
    opened: list[list[Any]]
    """Trajectories with a body, as [id, uid]."""
    long: list[Any]
    """The long trajectory, as [id, uid]."""
    best: list[tuple[float, int]]
    """What `Story` needs to go on."""


@dataclass(frozen=True)
class Plan:
    """`WHOLE` makes 1,000,392 trajectories in one job, and 77 thousand in the other ones."""

    steps: int = 100_000
    """Of the long job, step 0 among them."""
    groups: int = 2
    group_size: int = 4
    eval_every: int = 50
    eval_tasks: int = 100
    others: int = 300
    """Jobs beside the long one; the first `others_with_steps` of them have a past."""
    others_with_steps: int = 60
    others_steps: int = 40
    open_steps: int = 40
    """Of the long job, from its first to its last: their trajectories can be opened."""
    viewers: int = 25
    visitors: int = 5
    visit_every_s: float = 2.0
    step_every_s: float = 5.0
    idle_s: float = 60.0
    load_s: float = 180.0

    @property
    def total_steps(self) -> int:
        """What the long job was asked for: it is half done."""
        return 2 * self.steps

    def seeded(self) -> dict[str, Any]:
        """What decides what the database holds, and not how it is looked at."""
        looked = ("viewers", "visitors", "visit_every_s", "step_every_s", "idle_s", "load_s")
        return {name: value for name, value in asdict(self).items() if name not in looked}


WHOLE = Plan()
QUICK = Plan(
    steps=400,
    eval_every=20,
    eval_tasks=20,
    others=20,
    others_with_steps=5,
    others_steps=8,
    open_steps=8,
    viewers=4,
    visitors=2,
    visit_every_s=0.5,
    step_every_s=2.0,
    idle_s=10.0,
    load_s=15.0,
)
