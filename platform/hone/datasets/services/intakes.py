"""What is to become of a file that arrived: a version of its rows, of a table's, or of a split.

Small ones are made at once, others by a worker.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from django.core.files.base import File
from django.db import transaction

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.core import text
from hone.core.errors import UserError
from hone.datasets.models import (
    Dataset,
    DatasetVersion,
    Intake,
    IntakeState,
    Upload,
    UploadStatus,
)
from hone.datasets.records import RECORDS, is_record
from hone.datasets.selectors import access_dataset, access_intake, access_upload
from hone.datasets.services.bell import TAKE_IN, send
from hone.datasets.services.taking_in import beginning, intake_run
from hone.datasets.services.uploads import (
    upload_chunks,
    upload_complete,
    upload_create,
    upload_part_add,
)
from hone.datasets.services.versions import (
    refuse_other_name,
    refuse_taken,
)
from hone.datasets.splits import Split
from hone.datasets.tables import Columns, first_rows, table_columns, table_kind

SMALL_BYTES = 8 * 1024 * 1024
"""What is checked while a person waits; more is for a worker."""


def intake_create(
    *,
    acting_user: User,
    organisation: Organisation,
    upload: Upload,
    name: str = "",
    dataset: Dataset | None = None,
) -> Intake:
    """Make a version of a completed upload: of `dataset`, or the first of a new one."""
    access_organisation(acting_user, organisation.id, need="write")
    upload = access_upload(acting_user, upload.pk, need="write")
    if upload.status != UploadStatus.COMPLETED:
        raise UserError(
            f"The upload is {upload.status}. Complete it first.",
            code="upload_state",
            field="upload",
        )
    _refuse_used(upload)
    kind = table_kind(upload.filename)
    if not kind:
        refuse_other_name(upload.filename)
        kind = RECORDS if is_record(_first_line(upload)) else ""
    intake = Intake(
        organisation=organisation,
        name=_name(acting_user, organisation, dataset, name or PurePath(upload.filename).stem),
        dataset=dataset,
        upload=upload,
        recipe={"kind": kind or "jsonl"},
        state=IntakeState.ASKING if kind else IntakeState.WAITING,
        bytes_total=upload.bytes,
        created_by=acting_user,
    )
    intake.save(force_insert=True)
    return intake if kind else _begun(intake)


def intake_of_file(
    *,
    acting_user: User,
    organisation: Organisation,
    file: File[bytes],
    name: str = "",
    dataset: Dataset | None = None,
) -> Intake:
    """The same for a file that came whole by a plain form; it is moved, part by part if need be."""
    upload = upload_create(
        acting_user=acting_user,
        organisation=organisation,
        filename=file.name or "tasks.jsonl",
        size=file.size,
    )
    part = upload_part_add(acting_user=acting_user, upload=upload, data=file, most=file.size)
    upload = upload_complete(acting_user=acting_user, upload=upload, part_ids=[part.pk])
    return intake_create(
        acting_user=acting_user,
        organisation=organisation,
        upload=upload,
        name=name,
        dataset=dataset,
    )


def dataset_split_make(
    *, acting_user: User, version: DatasetVersion, split: Split, names: tuple[str, str]
) -> tuple[Intake, Intake]:
    """Two new datasets of the version's rows: for training and for validation."""
    organisation = version.dataset.organisation
    access_organisation(acting_user, organisation.id, need="write")
    split.check(version.report.get("keys", {}), version.rows)
    if len({name.strip() for name in names}) == 1:
        raise UserError(
            "Both datasets have the same name. Give each its own.", code="name", field="validation"
        )
    made = [
        Intake(
            organisation=organisation,
            name=_name(acting_user, organisation, None, name),
            recipe={"kind": "split", "version": version.pk, "side": side, **asdict(split)},
            bytes_total=version.bytes,
            created_by=acting_user,
        )
        for name, side in zip(names, ("train", "validation"), strict=True)
    ]
    with transaction.atomic():
        for intake in made:
            intake.save(force_insert=True)
    training, held = made
    held = _begun(held)
    if held.state == IntakeState.REFUSED:
        # The smaller side first: one side alone would be a copy that nobody asked for.
        Intake.objects.filter(pk__in=[each.pk for each in made]).delete()
        raise UserError(f"Nothing was split. {held.message}", code="split_too_few", field="share")
    return _begun(training), held


def dataset_without_make(
    *, acting_user: User, version: DatasetVersion, rows: Collection[int]
) -> Intake:
    """The next version of the dataset, without these rows of this one, which count from 0.

    Asked for again, it is the version that was made. Raises UserError where too few rows are left.
    """
    dataset = access_dataset(acting_user, version.dataset_id, need="write")
    recipe = {"kind": "without", "version": version.pk, "rows": sorted(set(rows))}
    same = dataset.intakes.filter(recipe=recipe).exclude(state=IntakeState.REFUSED).first()
    if same is not None:
        return same
    intake = Intake(
        organisation=dataset.organisation,
        name=dataset.name,
        dataset=dataset,
        recipe=recipe,
        bytes_total=version.bytes,
        created_by=acting_user,
    )
    intake.save(force_insert=True)
    intake = _begun(intake)
    if intake.state == IntakeState.REFUSED:
        intake.delete()
        raise UserError(intake.message, code="dataset_without", field="rows")
    return intake


def intake_set_columns(*, acting_user: User, intake: Intake, columns: Columns) -> Intake:
    """Say what the columns of a table are; then the file is taken in."""
    access_intake(acting_user, intake.pk, need="write")
    columns.refuse_unknown(intake_columns(intake))
    recipe = {
        **intake.recipe,
        "user": columns.user,
        "system": columns.system,
        "keep": list(columns.keep),
    }
    asking = Intake.objects.filter(pk=intake.pk, state=IntakeState.ASKING)
    if not asking.update(state=IntakeState.WAITING, recipe=recipe):
        raise UserError("The columns were named already.", code="intake_state")
    intake.refresh_from_db()
    return _begun(intake)


def intake_columns(intake: Intake) -> list[str]:
    """The columns of the table that arrived."""
    return intake_table(intake, 0)[0]


def intake_table(intake: Intake, count: int) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of the table that arrived, and its first rows."""
    kind = intake.recipe["kind"]
    with beginning(intake) as path:
        return table_columns(path, kind), first_rows(path, kind, count)


def _name(acting_user: User, organisation: Organisation, dataset: Dataset | None, name: str) -> str:
    if dataset is not None:
        return access_dataset(acting_user, dataset.pk, need="write").name
    name = text.name(name)
    refuse_taken(organisation, name)
    return name


def _first_line(upload: Upload) -> bytes:
    return next(upload_chunks(upload), b"").lstrip().partition(b"\n")[0]


def _refuse_used(upload: Upload) -> None:
    if Intake.objects.filter(upload=upload).exists():
        text = "This upload is on its way to a dataset already."
        raise UserError(text, code="upload_used", field="upload")


def _begun(intake: Intake) -> Intake:
    """Small files are taken in at once, others by a worker."""
    if intake.bytes_total <= SMALL_BYTES:
        intake_run(intake.pk)
        intake.refresh_from_db()
    else:
        transaction.on_commit(lambda: send(TAKE_IN, intake.pk))
    return intake
