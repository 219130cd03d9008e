"""`python -m benchmarks`: each measurement is a ratio of two ways, run here, side by side."""

from __future__ import annotations

import json
import platform

import torch

from benchmarks.rollouts import cached_against_reprefill, overlapped_against_serial


def main() -> None:
    torch.set_num_threads(1)
    rows = [
        *overlapped_against_serial(latencies_s=(0.0, 0.05)),
        cached_against_reprefill(),
    ]
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread")
    print(f"{'measurement':58s}{'one way':>12s}{'ours':>12s}{'ratio':>8s}")
    for row in rows:
        print(f"{row.name:58s}{row.other_s:10.2f} s{row.ours_s:10.2f} s{row.ratio:8.2f}")
    print(json.dumps({row.key: row.as_dict() for row in rows}))


if __name__ == "__main__":
    main()
