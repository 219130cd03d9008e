"""Refusals of the graders app."""

from __future__ import annotations

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
