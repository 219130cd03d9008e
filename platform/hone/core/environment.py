"""Reads environment variables; a value that cannot be is a sentence with the way out.

What may hold a password is never repeated: settings are read by every command, and what they say
ends in logs.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from hone.core.errors import UserError
from hone.core.json_text import object_from_text
from hone.core.net.errors import OutboundError
from hone.core.net.target import parse_url

SHOWN = 80
MOST_DIGITS = 18
DATABASES = ("django.db.backends.postgresql", "django.db.backends.sqlite3")


def flag(name: str) -> bool:
    """Whether the variable says yes."""
    return os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}


def words(name: str, default: str = "") -> list[str]:
    """The words between commas."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def one_of(name: str, known: Sequence[str], default: str) -> str:
    """One of the words that are known."""
    value = os.environ.get(name) or default
    if value not in known:
        raise ImproperlyConfigured(
            f"{name} is {value[:SHOWN]!r}. Set it to one of {', '.join(known)}, or unset it."
        )
    return value


def chosen(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """The words between commas, each of which is known; none where the variable is not set."""
    found = tuple(dict.fromkeys(words(name)))
    unknown = next((word for word in found if word not in known), None)
    if unknown is not None:
        raise ImproperlyConfigured(
            f"{name} holds {unknown[:SHOWN]!r}. Set it to any of {', '.join(known)}, with commas "
            "between them, or unset it."
        )
    return found


def whole_number(name: str, default: int) -> int:
    """A whole number above 0."""
    value = os.environ.get(name) or str(default)
    plain = value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS
    if not plain or int(value) == 0:
        raise ImproperlyConfigured(
            f"{name} is {value[:SHOWN]!r}, which is no whole number above 0. "
            f"Set it to one, as {default}, or unset it."
        )
    return int(value)


def seconds(name: str, default: float) -> float:
    """A length of time, 0 or more."""
    value = os.environ.get(name) or str(default)
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise ImproperlyConfigured(
            f"{name} is {value[:SHOWN]!r}, which is no number of seconds. "
            f"Set it to one, as {default:g}, or unset it."
        )
    return found


def amount(name: str) -> float | None:
    """An amount of money, 0 or more; None where the variable is not set."""
    value = os.environ.get(name) or ""
    if not value:
        return None
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise ImproperlyConfigured(
            f"{name} is {value[:SHOWN]!r}, which is no amount. Set it to one, as 2.5, or unset it."
        )
    return found


def json_object(name: str) -> dict[str, Any]:
    """A JSON object; empty where the variable is not set."""
    try:
        return object_from_text(os.environ.get(name) or "{}", field=name)
    except UserError as error:
        raise ImproperlyConfigured(
            f"{name} cannot be read; its value may hold secrets and is not shown. {error.message}"
        ) from error


def server_url(name: str) -> str:
    """The address of a server, http or https, without a slash at its end; empty where unset.

    It may hold a password where it should not, so it is not repeated.
    """
    value = os.environ.get(name) or ""
    if value:
        try:
            parse_url(value)
        except OutboundError as error:
            raise ImproperlyConfigured(
                f"{name} cannot be used. {error.message} Write http://host:port, or unset it."
            ) from error
    return value.rstrip("/")


def folder(name: str, default: Path) -> Path:
    """A folder, made where it is missing."""
    path = Path(os.environ.get(name) or default).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name} is {path}, and no folder can be made there: {error.strerror}. "
            "Set it to a folder that you may write to."
        ) from error
    return path


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of one database, from its URL."""
    url = os.environ.get(name) or default
    try:
        found: dict[str, Any] = dict(dj_database_url.parse(url))
        known = found.get("ENGINE") in DATABASES and bool(found.get("NAME"))
    except ValueError:
        known = False
    if not known:
        raise ImproperlyConfigured(
            f"{name} is {without_password(url)!r}, which names no PostgreSQL or SQLite database. "
            "Write postgres://user:password@host:port/name, with special characters of the "
            "password percent-encoded, or unset it to use SQLite in the data folder."
        )
    return found


def without_password(url: str) -> str:
    """The URL as it may be printed: no password, and no query, which may hold one too."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    host, more, port = place.partition("?")[0].partition(":")
    # A password whose @host was forgotten stands where a port would.
    shown = port if at or re.fullmatch(r"\d{1,5}(/.*)?", port) else "***"
    secret = ":***" if colon else ""
    return f"{scheme[:SHOWN]}{separator}{user}{secret}{at}{host}{more}{shown if more else ''}"
