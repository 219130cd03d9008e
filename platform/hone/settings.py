"""Settings: every choice comes from environment variables; the defaults need no server.

`docs/operator.md` lists each variable; a test holds that list against this file.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from graders.sandbox import limits
from hone.core.environment import (
    amount,
    chosen,
    database,
    flag,
    folder,
    json_object,
    one_of,
    server_url,
    whole_number,
    words,
)
from hone.core.net.policy import OutboundPolicy

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]


def _bundled(name: str) -> Path:
    packed = PACKAGE / "_bundled" / name
    return packed if packed.is_dir() else ROOT / name


def _key_file(path: Path) -> str:
    """The key in `path`, made on first use and readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(48))
    return path.read_text().strip()


DATA_DIR = folder("HONE_DATA_DIR", ROOT / "var")

DEBUG = flag("HONE_DEBUG")
SECRET_KEY = os.environ.get("HONE_SECRET_KEY") or _key_file(DATA_DIR / "django.key")
ALLOWED_HOSTS = words("HONE_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = words("HONE_ORIGINS")
BEHIND_TLS_PROXY = flag("HONE_BEHIND_TLS_PROXY")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS_PROXY else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS_PROXY
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS_PROXY else 0

SECRETS_KEYS = words("SECRETS_KEYS")
"""Encryption keys for stored secrets, `id:key`; the first writes, all read. Empty: a key file."""

OUTBOUND_ALLOW = tuple(words("HONE_OUTBOUND_ALLOW"))
"""Private networks that tools may reach: `CIDR`, `CIDR:port` or `host:port`."""
try:
    OutboundPolicy.parse(OUTBOUND_ALLOW)
except ValueError as error:
    raise ImproperlyConfigured(f"HONE_OUTBOUND_ALLOW: {error}") from error

ENGINE_PROCESSES = whole_number("HONE_ENGINE_PROCESSES", 1)
SAMPLER_URL = server_url("SAMPLER_URL")
"""A completions server with token ids that samples for jobs; empty: the engine samples itself."""
SAMPLER_DIALECT = one_of("SAMPLER_DIALECT", ("vllm", "sglang"), "vllm")
SAMPLER_PROCESSED_LOGPROBS = flag("SAMPLER_PROCESSED_LOGPROBS")
SAMPLER_KEY = os.environ.get("SAMPLER_KEY", "")

try:
    limits.from_environment()
except ValueError as error:
    raise ImproperlyConfigured(str(error)) from error

HOUR_PRICE = amount("HONE_HOUR_PRICE")
"""What an hour of a training worker costs, for estimates; None: they say hours only."""
CURRENCY = os.environ.get("HONE_CURRENCY") or "USD"

QUOTA_HOURS = amount("HONE_QUOTA_HOURS")
"""Hours of engines that an organisation should stay below in a month; None: no limit is named."""
EXPORTS = chosen("HONE_EXPORT", ("wandb", "mlflow", "trackio"))
"""Trackers that the metrics of a finished job are exported to."""
EXPORT_DIR = Path(os.environ.get("HONE_EXPORT_DIR") or DATA_DIR / "exports")

MAX_DATASET_ROWS = whole_number("HONE_MAX_DATASET_ROWS", 50_000)
MAX_DATASET_BYTES = whole_number("HONE_MAX_DATASET_BYTES", 512 * 1024 * 1024)

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "hone.core",
    "hone.accounts",
    "hone.datasets",
    "hone.tools",
    "graders",
    "jobs",
    "hone.demo",
]

MIDDLEWARE = [
    "hone.core.request_ids.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    # Before all that answers, style sheets and pictures too: nothing leaves without a policy.
    "csp.middleware.CSPMiddleware",
    "hone.core.middleware.DataPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "hone.core.assets.AssetsMiddleware",
    # Behind static files, which are packed when they are stored.
    "hone.core.middleware.PackedPagesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "hone.accounts.keys.KeyMiddleware",
    # Before the CSRF check, which reads the whole form: nothing is read from a stranger.
    "hone.accounts.middleware.SignInMiddleware",
    "hone.core.middleware.ArrivalMiddleware",
    "hone.core.middleware.FormAddressMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "hone.accounts.middleware.OrganisationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "hone.urls"
WSGI_APPLICATION = "hone.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_bundled("templates")],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "hone.accounts.context.organisation",
                "jobs.context.bar",
            ],
            "builtins": ["django.templatetags.static"],
            "libraries": {
                "figures": "hone.core.figures",
                "assets": "hone.core.assets",
                "compiled": "hone.core.rendering",
                "workbench": "jobs.workbench.tags",
            },
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    ["django.template.loaders.filesystem.Loader"],
                )
            ],
        },
    },
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "NAME": "compiled",
        "DIRS": [_bundled("templates")],
        "APP_DIRS": False,
        "OPTIONS": {"environment": "hone.core.rendering.environment"},
    },
]

FORM_RENDERER = "hone.core.rendering.OwnTemplates"

_SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA mmap_size=134217728;"
        "PRAGMA journal_size_limit=67108864;PRAGMA cache_size=-16000"
    ),
}

DATABASES = {"default": database("DATABASE_URL", f"sqlite:///{DATA_DIR / 'hone.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = dict(_SQLITE)
    # A file, so that worker and engine processes of a test see what the test wrote.
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / f"test-{os.getpid()}.sqlite3"}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

BROKER_URL = os.environ.get("BROKER_URL") or "filesystem://localhost/"
BROKER_FOLDER = DATA_DIR / "broker"

MEDIA_ROOT = DATA_DIR / "files"
STORAGES = {
    "default": {
        "BACKEND": os.environ.get("HONE_STORAGE_BACKEND")
        or "django.core.files.storage.FileSystemStorage",
        "OPTIONS": json_object("HONE_STORAGE_OPTIONS"),
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
STATIC_URL = "static/"
STATICFILES_DIRS = [_bundled("static")]
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "incoming"
for _folder in (STATIC_ROOT, FILE_UPLOAD_TEMP_DIR):
    _folder.mkdir(parents=True, exist_ok=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
UPLOAD_ADDRESSES = frozenset({"dataset-new", "dataset-version-new"})
"""Names of the addresses that take a file; all others take a form of that size."""

LARGEST_UPLOAD_PART = 64 * 1024 * 1024
UPLOAD_PART_ADDRESSES = frozenset({"upload-part"})
"""Names of the addresses that take a part of a file, of that size at most."""

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
SESSION_COOKIE_HTTPONLY = True

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}

LOG_LEVEL = one_of("HONE_LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request": {"()": "hone.core.request_ids.RequestIdFilter"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"}
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request"],
        }
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
}
