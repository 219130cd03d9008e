"""Refusals of the graders app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graders.kinds.base import GraderSpecError
from hone.core.errors import UserError


class InvalidSpec(UserError):
    """The spec cannot work; `param` is the dotted place in it."""

    def __init__(self, error: GraderSpecError) -> None:
        super().__init__(str(error), code="grader_spec", field="spec")
        self.param = error.param


class GraderVersionChanged(UserError):
    """Somebody saved another version while this one was edited."""

    def __init__(self, *, name: str, latest: int, edited: int, author: str) -> None:
        super().__init__(
            f"{author} saved {name} v{latest} while you edited v{edited}. Your text is kept: "
            f"compare it with v{latest}, then save it as v{latest + 1}.",
            code="grader_version_changed",
            field="spec",
        )
        self.latest = latest


class GraderArchived(UserError):
    """An archived grader takes no new versions."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is archived and takes no new versions. Save this as a new grader.",
            code="grader_archived",
        )


class SandboxRefused(UserError):
    """This machine cannot run Python graders safely."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, code="sandbox_unavailable", field="spec")


class FixturesFail(UserError):
    """Fixtures do not get their score and nobody said why that is right; nothing was saved."""

    def __init__(self, outcomes: Sequence[Any], failing: Sequence[str]) -> None:
        fail = "fails" if len(failing) == 1 else "fail"
        named = ", ".join(failing[:3]) + (", …" if len(failing) > 3 else "")
        super().__init__(
            f"{len(failing)} of {len(outcomes)} fixtures {fail}: {named}. Mend the grader or the "
            "fixture, or write why this version is to be saved as it is.",
            code="fixtures_fail",
            field="reason",
        )
        self.outcomes = outcomes


class TooManyFixtures(UserError):
    """All fixtures of a grader run at each save, so their number is limited."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__(
            f"{name} has {most} fixtures already, which is the most that run at each save. Delete "
            "one first.",
            code="too_many_fixtures",
        )
