"""App configuration of tools."""

from django.apps import AppConfig


class ToolsConfig(AppConfig):
    name = "hone.tools"
    label = "tools"
