"""The WSGI entry point: `gunicorn hone.wsgi`."""

import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hone.settings")

application = get_wsgi_application()

# A full collection looks at every object of the process, most of which are code, and holds up all
# threads meanwhile. What every view needs is read now, and no collection looks at it again.
assert get_resolver().url_patterns
gc.collect()
gc.freeze()
