"""Warm sandboxes, one for each organisation."""

from __future__ import annotations

from sandboxes import graded, needs_sandbox

from graders.sandbox.client import PythonSandbox
from graders.sandbox.pool import SandboxPool

HONEST = "def grade(sample, item): return 0.5"


class Closing(PythonSandbox):
    """Says how often it was closed; no server is started."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_an_organisation_keeps_its_own() -> None:
    pool = SandboxPool(PythonSandbox)
    with pool.of("acme") as first, pool.of("elsewhere") as other:
        assert first is not other
    with pool.of("acme") as again:
        assert again is first


@needs_sandbox
def test_two_organisations_have_two_servers() -> None:
    pool = SandboxPool(PythonSandbox)
    with pool.of("acme") as one, pool.of("elsewhere") as two:
        assert [graded(one, HONEST).reward, graded(two, HONEST).reward] == [0.5, 0.5]
        assert one.start().process.pid != two.start().process.pid
        one.close()
        two.close()


def test_the_longest_idle_makes_room() -> None:
    pool = SandboxPool(Closing, most=2)
    made = []
    for name in ("a", "b", "c"):
        with pool.of(name) as sandbox:
            made.append(sandbox)
    assert [sandbox.closed for sandbox in made] == [1, 0, 0]  # type: ignore[attr-defined]


def test_who_is_used_is_never_closed() -> None:
    pool = SandboxPool(Closing, most=1)
    with pool.of("a") as first, pool.of("b") as second:
        pass
    assert (first.closed, second.closed) == (0, 0)  # type: ignore[attr-defined]
    with pool.of("b"):
        assert first.closed == 1  # type: ignore[attr-defined]


def test_who_was_idle_for_long_is_closed_when_somebody_comes() -> None:
    pool = SandboxPool(Closing, idle_s=0.0)
    with pool.of("a") as first:
        pass
    with pool.of("b"):
        assert first.closed == 1  # type: ignore[attr-defined]


def test_closing_closes_all_and_who_comes_later_gets_a_new_one() -> None:
    pool = SandboxPool(Closing)
    with pool.of("a") as first, pool.of("b") as second:
        pass
    pool.close()
    assert (first.closed, second.closed) == (1, 1)  # type: ignore[attr-defined]
    with pool.of("a") as again:
        assert again is not first
