"""Periods of leases and sweeps, from settings, so that tests can shorten them."""

from __future__ import annotations

from dataclasses import dataclass

from hone.core.environment import seconds


@dataclass(frozen=True)
class Periods:
    """All in seconds. A holder that could not renew for `lease - margin` stops its engine."""

    lease: float
    renew: float
    margin: float
    sweep: float
    probe: float
    retry: float
    """Wait after an engine's death, doubled with each further one at the same step."""
    grace: float
    """How long an engine may take to pause or cancel before it is killed."""

    @property
    def fence(self) -> float:
        return self.lease - self.margin


def periods() -> Periods:
    """The periods in force; each `HONE_*_S` variable overrides one."""
    lease = seconds("HONE_LEASE_S", 30.0)
    return Periods(
        lease=lease,
        renew=seconds("HONE_RENEW_S", lease * 7 / 30),
        margin=lease / 6,
        sweep=seconds("HONE_SWEEP_S", 5.0),
        probe=seconds("HONE_PROBE_S", 60.0),
        retry=seconds("HONE_RETRY_S", 2.0),
        grace=seconds("HONE_GRACE_S", 20.0),
    )
