"""Recordings of tool traffic: made, added to, and taken off the lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from django.db import transaction

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError
from hone.core.net.recorded import Entry, packed, unpacked, without_doubles
from hone.tools.models import Recording
from hone.tools.selectors import access_recording

LARGEST_PACKED = 32 * 1024 * 1024


def recording_add(
    *,
    acting_user: User,
    organisation: Organisation,
    name: str,
    source: str,
    entries: Iterable[Entry],
) -> Recording:
    """Add calls to the recording of this name, which is made where there is none."""
    access_organisation(acting_user, organisation.id, need="write")
    name = text.name(name, field="record_as")
    with transaction.atomic():
        # The organisation's row serialises two that begin the same recording.
        Organisation.objects.select_for_update().get(pk=organisation.pk)
        found = Recording.objects.filter(organisation=organisation, name=name, archived=False)
        recording = found.first() or Recording(
            organisation=organisation, name=name, source=source[:200], created_by=acting_user
        )
        kept = without_doubles([*unpacked(bytes(recording.content)), *entries])
        content = packed(kept)
        if len(content) > LARGEST_PACKED:
            raise UserError(
                f"The recording {name} would have {len(content)} bytes; at most "
                f"{LARGEST_PACKED} fit. Begin another one.",
                code="recording_too_large",
                field="record_as",
            )
        recording.content = content
        recording.entries = len(kept)
        recording.sha256 = hashlib.sha256(content).hexdigest()
        recording.save()
        audit_record(
            acting_user=acting_user,
            organisation=organisation,
            action="recording.add",
            target=recording.pk,
            detail={"name": name, "entries": len(kept), "source": source[:200]},
        )
    return recording


def recording_archive(*, acting_user: User, recording: Recording) -> None:
    """Take it off the lists; what was played from it stays as it is."""
    access_recording(acting_user, recording.pk, need="write")
    with transaction.atomic():
        if Recording.objects.filter(pk=recording.pk, archived=False).update(archived=True):
            audit_record(
                acting_user=acting_user,
                organisation=recording.organisation,
                action="recording.archive",
                target=recording.pk,
                detail={"name": recording.name},
            )
