"""`python -m benchmarks.pages.seed PLAN`: fills the database of DATABASE_URL, in a process of its
own, and writes what can be looked at into the data folder."""

from __future__ import annotations

import sys
from pathlib import Path

import django
import msgspec

from benchmarks.pages.plan import FACTS, Plan


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    django.setup()
    from django.conf import settings  # noqa: PLC0415

    from benchmarks.pages.filling import seed  # noqa: PLC0415

    Path(settings.DATA_DIR, FACTS).write_bytes(msgspec.json.encode(seed(plan)))


if __name__ == "__main__":
    main()
