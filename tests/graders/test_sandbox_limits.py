"""The limits of a grading: the contract's are the ceilings, ours are the defaults."""

from __future__ import annotations

import pytest

from graders.sandbox.limits import MB, Limits, from_environment


def test_the_defaults_are_tighter_than_the_contract() -> None:
    assert from_environment({}) == Limits(30.0, 512 * MB, 64 * MB)


def test_an_operator_may_raise_them_to_the_contract() -> None:
    variables = {
        "HONE_GRADER_SECONDS": "120",
        "HONE_GRADER_MEMORY_MB": "2048",
        "HONE_GRADER_DISK_MB": "1024",
    }
    assert from_environment(variables) == Limits(120.0, 2048 * MB, 1024 * MB)


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        ("HONE_GRADER_SECONDS", "121", "120"),
        ("HONE_GRADER_SECONDS", "0", "120"),
        ("HONE_GRADER_SECONDS", "1.5", "120"),
        ("HONE_GRADER_MEMORY_MB", "2049", "2048"),
        ("HONE_GRADER_DISK_MB", "-1", "1024"),
        ("HONE_GRADER_DISK_MB", "1" * 50, "1024"),
    ],
)
def test_beyond_it_the_variable_is_named(name: str, value: str, most: str) -> None:
    with pytest.raises(ValueError) as refused:
        from_environment({name: value})
    assert str(refused.value) == (
        f"{name} is {value[:40]!r}. Set it to a whole number from 1 to {most}, or unset it."
    )


@pytest.mark.parametrize(
    "limits",
    [{"wall_s": 121.0}, {"wall_s": 0.0}, {"memory_bytes": 2049 * MB}, {"disk_bytes": 1025 * MB}],
)
def test_limits_beyond_the_contract_cannot_be_made(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="has to be above 0 and at most"):
        Limits(**limits)  # type: ignore[arg-type]
