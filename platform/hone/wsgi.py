"""The WSGI entry point: `gunicorn hone.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hone.settings")

application = get_wsgi_application()
