"""App configuration of core."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "hone.core"
    label = "core"
