"""A worker without a broker: works on one run, again and again, until it is final."""

from __future__ import annotations

import sys
import time

import django

django.setup()

from jobs.models import Run  # noqa: E402
from jobs.supervisor.supervise import supervise  # noqa: E402


def main(run_id: str) -> None:
    while not Run.objects.get(pk=run_id).is_final:
        supervise(run_id)
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
