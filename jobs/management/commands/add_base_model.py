"""`manage.py add_base_model`: put a model on the list that people choose from."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hone.core.errors import UserError
from hone.core.tables import require_tables
from jobs.services.download import base_model_download
from jobs.services.models_list import base_model_add, base_model_enable


class Command(BaseCommand):
    help = "Add a base model: a local folder, or a hub id that is downloaded (safetensors only)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what people see")
        parser.add_argument("source", metavar="PATH_OR_HUB_ID", nargs="?")
        parser.add_argument("--revision", default="", help="a branch, tag or commit of a hub id")
        parser.add_argument("--wait", action="store_true", help="download here and now")
        offer = parser.add_mutually_exclusive_group()
        offer.add_argument("--disable", action="store_true", help="offer it to no new job")
        offer.add_argument("--enable", action="store_true", help="offer it again")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_tables()
            if options["disable"] or options["enable"]:
                self._offer(options["name"], enabled=options["enable"])
            else:
                self._add(options)
        except UserError as error:
            raise CommandError(error.message) from error

    def _offer(self, name: str, *, enabled: bool) -> None:
        base_model_enable(name=name, enabled=enabled)
        self.stdout.write(f"{name}: {'offered to' if enabled else 'kept from'} new jobs.")

    def _add(self, options: dict[str, Any]) -> None:
        if options["source"] is None:
            raise UserError("Give a folder or a hub id after the name.")
        model = base_model_add(
            name=options["name"], source=options["source"], revision=options["revision"]
        )
        if model.is_hub and options["wait"]:
            base_model_download(model.pk)
            model.refresh_from_db()
        if model.status == "failed":
            raise CommandError(model.message)
        if model.status == "downloading":
            self.stdout.write(f"{model.name}: a worker downloads {model.source}. {model.message}")
            return
        size = f"{(model.parameters or 0) / 1e6:.1f} M parameters"
        self.stdout.write(f"{model.name}: ready, {model.architecture}, {size}, {model.folder}")
