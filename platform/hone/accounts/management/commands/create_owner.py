"""`manage.py create_owner EMAIL --organisation NAME`: the first person of an installation."""

from __future__ import annotations

import getpass
import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hone.accounts.services import owner_create
from hone.core.errors import UserError
from hone.core.tables import require_tables


class Command(BaseCommand):
    help = "Create a person who owns a new organisation. Asks for the password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--organisation", required=True, help="name of the new organisation")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_tables()
            password = os.environ.get("HONE_OWNER_PASSWORD") or getpass.getpass("Password: ")
            user, organisation = owner_create(
                email=options["email"],
                password=password,
                organisation_name=options["organisation"],
            )
        except UserError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{user.email} owns {organisation.name} ({organisation.id}).")
