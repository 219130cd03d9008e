"""The web process, before its first request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import gc, sys
import hone.wsgi
mine = sum("jobs.views" in name for name in sys.modules)
left = len(gc.get_objects())
print(mine > 20, gc.get_freeze_count() > 20 * left)
"""


def test_every_view_is_loaded_and_no_collection_looks_at_it() -> None:
    path = f"import sys; sys.path[:0] = [{str(ROOT / 'platform')!r}, {str(ROOT)!r}]\n"
    done = subprocess.run([sys.executable, "-c", path + PROGRAM], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr
