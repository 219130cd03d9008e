"""What the sweeper does for datasets."""

from __future__ import annotations

from hone.datasets.services.findings import findings_sweep
from hone.datasets.services.taking_in import intakes_sweep
from hone.datasets.services.uploads import uploads_expire
from hone.datasets.services.versions import uploads_tidy


def datasets_sweep() -> None:
    """End what was abandoned, and ring again for what waits."""
    uploads_tidy()
    uploads_expire()
    intakes_sweep()
    findings_sweep()
