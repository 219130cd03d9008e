"""Loaded by pytest before settings are read: every run has a data folder of its own."""

from __future__ import annotations

import os
import tempfile

os.environ["HONE_DATA_DIR"] = tempfile.mkdtemp(prefix="hone-tests-")
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")
