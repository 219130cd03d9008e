"""Changes to datasets."""

from hone.datasets.services.versions import (
    dataset_archive,
    dataset_create,
    dataset_delete,
    dataset_version_add,
    uploads_tidy,
)

__all__ = [
    "dataset_archive",
    "dataset_create",
    "dataset_delete",
    "dataset_version_add",
    "uploads_tidy",
]
