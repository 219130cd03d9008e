"""`python -m benchmarks.engine`: a table, and one JSON object as the last line."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys

import torch

from benchmarks.engine.compare import QUICK, WHOLE, measure
from benchmarks.engine.table import lines, summary


def main() -> int:
    parser = argparse.ArgumentParser(description="Hone's engine beside TRL's GRPOTrainer.")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    options = parser.parse_args()
    missing = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"This benchmark needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: pip install -e '.[bench]'"
        )
        return 1
    found = measure(
        QUICK if options.quick else WHOLE, lambda text: print(f"... {text}", flush=True)
    )
    load = "/".join(f"{average:.1f}" for average in os.getloadavg())
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, load {load}\n"
    )
    for line in lines(found):
        print(line)
    print(json.dumps(summary(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
