"""App configuration of jobs."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"
    label = "jobs"

    def ready(self) -> None:
        # Datasets are a layer below; their reports count tokens by the models listed here.
        from hone.datasets.findings.known import known_models  # noqa: PLC0415
        from jobs.selectors.tokenizers import tokenizers_known  # noqa: PLC0415

        known_models.append(tokenizers_known)
