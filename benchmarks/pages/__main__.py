"""`python -m benchmarks.pages`: a table, and as the last line one JSON object.

First the pages are opened one after the other while nothing else happens. Then people watch the
long job, others click, a worker commits steps and an engine trains, all on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.pages.children import child
from benchmarks.pages.database import Place, seeded
from benchmarks.pages.figures import Run, judged, summary, table
from benchmarks.pages.plan import QUICK, WHOLE, Plan
from benchmarks.pages.server import Server, Spent, serving
from benchmarks.pages.training import training
from benchmarks.pages.viewers import Audience, Seen
from benchmarks.pages.visitors import Crowd

if TYPE_CHECKING:
    from benchmarks.pages.committer import Committer

SHOWN_ERRORS = 12


def measure(plan: Plan, place: Place) -> None:
    """Both phases, and what came out."""
    committer, sessions = _inside(plan, place)
    viewers, visitors = sessions[: plan.viewers], sessions[plan.viewers :]
    with serving(place.environment) as server:
        say(f"nothing else happens, {plan.idle_s:.0f} s")
        alone = Crowd(server.port, place.facts, plan.steps, visitors[:1], 0.0, server)
        alone.warm_up()
        idle = _idle(alone, plan.idle_s)
        say(f"{plan.viewers} watch, {plan.visitors} click, an engine trains, {plan.load_s:.0f} s")
        crowd = replace(alone, sessions=visitors, every_s=plan.visit_every_s, server=None)
        page = f"/jobs/{place.facts.job}/"
        load = _load(plan, crowd, Audience(server.port, page, viewers), committer, server)
    print()
    for line in table(idle, load):
        print(line)
    print("\nAlone:")
    for line in judged(summary(idle) | {"new_point_visible_s_p95": 0.0}):
        if not line.startswith("new_point"):
            print(f"  {line}")
    print("Under load:")
    for line in judged(summary(load)):
        print(f"  {line}")
    for error in [*idle.visited.errors, *load.visited.errors, *load.seen.errors][:SHOWN_ERRORS]:
        print(f"error: {error}")
    found = summary(load)
    found["errors"] = (found["errors"] or 0) + len(idle.visited.errors)
    print(json.dumps(found))


def _inside(plan: Plan, place: Place) -> tuple[Committer, list[str]]:
    """What needs Django, in this process."""
    os.environ.update(place.environment)
    import django  # noqa: PLC0415

    django.setup()
    from benchmarks.pages.committer import Committer, sessions  # noqa: PLC0415

    return Committer(plan, place.facts), sessions(place.facts.members)


def _idle(crowd: Crowd, seconds: float) -> Run:
    with child(crowd.click) as clicking:
        time.sleep(seconds)
        visited = clicking.result()
    return Run(visited, Seen(), [], time.monotonic())


def _load(
    plan: Plan, crowd: Crowd, audience: Audience, committer: Committer, server: Server
) -> Run:
    stop = threading.Event()
    commits = threading.Thread(target=committer.run, args=(stop,))
    with training() as engine, child(audience.watch) as watching, child(crowd.click) as clicking:
        commits.start()
        before = server.spent()
        time.sleep(plan.load_s)
        spent, ended = server.spent() - before, time.monotonic()
        stop.set()
        visited, seen = clicking.result(), watching.result()
        trained, last = engine.steps, engine.last
    commits.join()
    _say_spent(spent, visited.count + seen.count, plan.load_s)
    say(f"the engine made {trained} steps of its own ({last})")
    return Run(visited, seen, committer.committed, ended)


def _say_spent(spent: Spent, requests: int, seconds: float) -> None:
    cores = os.cpu_count() or 1
    web, database = (100 * each / seconds / cores for each in (spent.web, spent.database))
    say(
        f"{requests / seconds:.1f} requests a second; of {cores} cores the web server took "
        f"{web:.0f} % and the database {database:.0f} %"
    )


def say(text: str) -> None:
    load = "/".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"... {text} (load {load})", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="The pages, with a million trajectories.")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument("--keep", action="store_true", help="keep the seeded database for later")
    parser.add_argument("--idle", type=float, help="seconds without viewers")
    parser.add_argument("--load", type=float, help="seconds with viewers")
    options = parser.parse_args()
    plan = QUICK if options.quick else WHOLE
    plan = replace(
        plan,
        idle_s=plan.idle_s if options.idle is None else options.idle,
        load_s=plan.load_s if options.load is None else options.load,
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with seeded(plan, keep=options.keep) as place:
        measure(plan, place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
