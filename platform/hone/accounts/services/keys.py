"""API keys: made and shown once, opened by programs, revoked at once."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from hone.accounts.errors import BadKey
from hone.accounts.models import ApiKey, Organisation, Scope, User
from hone.accounts.selectors import access_organisation, role_in
from hone.accounts.services.audit import audit_record
from hone.core import text
from hone.core.errors import UserError

WORD = "hone_"
RANDOM_BYTES = 24
SHOWN_OF_IT = len(WORD) + 6
MOST_KEYS = 50
USE_IS_NOTED_EVERY = timedelta(minutes=1)
FORM = re.compile(rf"{WORD}[0-9a-f]{{{2 * RANDOM_BYTES}}}")


def key_create(
    *, acting_user: User, organisation: Organisation, name: str, days: int | None
) -> tuple[ApiKey, str]:
    """A new key that reads, and its text, which exists only in this answer."""
    access_organisation(acting_user, organisation.id)
    name = text.name(name, longest=64)
    mine = ApiKey.objects.filter(
        organisation=organisation, user=acting_user, revoked_at__isnull=True
    )
    if mine.count() >= MOST_KEYS:
        raise UserError(f"You have {MOST_KEYS} keys here. Revoke one first.", code="too_many")
    plain = WORD + secrets.token_hex(RANDOM_BYTES)
    try:
        with transaction.atomic():
            key = ApiKey.objects.create(
                organisation=organisation,
                user=acting_user,
                name=name,
                prefix=plain[:SHOWN_OF_IT],
                digest=_digest(plain),
                scopes=[Scope.READ.value],
                expires_at=None if days is None else timezone.now() + timedelta(days=days),
            )
            _audit(acting_user, key, "key.create", expires=_day(key))
    except IntegrityError as error:
        raise UserError(
            f"You have a key named {name} already. Choose another name, or revoke that one.",
            code="name_taken",
            field="name",
        ) from error
    return key, plain


def key_revoke(*, acting_user: User, key: ApiKey) -> None:
    """Close a key at once; a second time changes nothing."""
    if key.user_id != acting_user.pk:
        access_organisation(acting_user, key.organisation_id, need="admin")
    with transaction.atomic():
        open_still = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True)
        if open_still.update(revoked_at=timezone.now()):
            _audit(acting_user, key, "key.revoke", of=key.user.email)


def key_open(plain: str) -> ApiKey:
    """The key that a program sent; BadKey where it opens nothing, with what to do instead."""
    key = _found(plain)
    if key.revoked_at is not None:
        raise BadKey("key_revoked", f"The key {key.prefix}… was revoked.")
    if key.expired:
        raise BadKey("key_expired", f"The key {key.prefix}… expired on {key.expires_at:%d %b %Y}.")
    if role_in(key.user, key.organisation_id) is None:
        raise BadKey("key_orphaned", f"Who made the key {key.prefix}… is no longer a member.")
    _note_use(key)
    key.user.key = key
    return key


def _found(plain: str) -> ApiKey:
    rows = ApiKey.objects.select_related("organisation", "user")
    key = rows.filter(digest=_digest(plain)).first() if FORM.fullmatch(plain) else None
    if key is None:
        raise BadKey("key_unknown", "This key is not known here.")
    return key


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    long_ago = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USE_IS_NOTED_EVERY)
    ApiKey.objects.filter(long_ago, pk=key.pk).update(last_used_at=now)


def _digest(plain: str) -> str:
    """Without salt or stretching: the text is 192 random bits, which nobody guesses."""
    return hashlib.sha256(plain.encode()).hexdigest()


def _day(key: ApiKey) -> str:
    return "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d}"


def _audit(acting_user: User, key: ApiKey, action: str, **detail: str) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=key.organisation,
        action=action,
        target=f"{key.prefix}…",
        detail={"name": key.name, **detail},
    )
