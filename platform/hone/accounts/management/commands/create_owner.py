"""`manage.py create_owner EMAIL --organisation NAME`: the first person of an installation."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hone.accounts.management.asking import asked_password
from hone.accounts.services import owner_create, owner_email
from hone.core.errors import UserError
from hone.core.tables import require_tables

WAY_OUT = "Run this in a terminal, or set HONE_OWNER_PASSWORD to the password."


class Command(BaseCommand):
    help = "Create a person who owns a new organisation. Asks for the password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--organisation", required=True, help="name of the new organisation")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_tables()
            email = owner_email(options["email"])
            password = os.environ.get("HONE_OWNER_PASSWORD") or asked_password(
                "Password: ", way_out=WAY_OUT
            )
            user, organisation = owner_create(
                email=email,
                password=password,
                organisation_name=options["organisation"],
            )
        except UserError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{user.email} owns {organisation.name} ({organisation.id}).")
