"""Periods of leases and sweeps, from settings, so that tests can shorten them."""

from __future__ import annotations

import os
from dataclasses import dataclass


def _seconds(name: str, default: float) -> float:
    return float(os.environ.get(name) or default)


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
    lease = _seconds("HONE_LEASE_S", 30.0)
    return Periods(
        lease=lease,
        renew=_seconds("HONE_RENEW_S", lease * 7 / 30),
        margin=lease / 6,
        sweep=_seconds("HONE_SWEEP_S", 5.0),
        probe=_seconds("HONE_PROBE_S", 60.0),
        retry=_seconds("HONE_RETRY_S", 2.0),
        grace=_seconds("HONE_GRACE_S", 20.0),
    )
