#!/usr/bin/env python
"""Django's command line for Hone: `python manage.py help`."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path[1:1] = [str(ROOT / "platform")]

from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.core.management import execute_from_command_line  # noqa: E402

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hone.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"✗ settings  {error}")
