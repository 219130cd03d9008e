"""`manage.py set_password EMAIL`: another password for a person who forgot theirs."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hone.accounts.services import operator_set_password
from hone.core.errors import UserError
from hone.core.tables import require_tables


class Command(BaseCommand):
    help = "Set a person's password, whatever they belong to. Asks for it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_tables()
            person = operator_set_password(
                email=options["email"], password=getpass.getpass("New password: ")
            )
        except UserError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{person.email} has a new password; their browsers are signed out.")
