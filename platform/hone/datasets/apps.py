"""App configuration of datasets."""

from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "hone.datasets"
    label = "datasets"
