"""App configuration of graders."""

from django.apps import AppConfig


class GradersConfig(AppConfig):
    name = "graders"
    label = "graders"
