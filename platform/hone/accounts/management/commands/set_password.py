"""`manage.py set_password EMAIL`: another password for a person who forgot theirs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hone.accounts.management.asking import asked_password
from hone.accounts.services import operator_set_password, person_at
from hone.core.errors import UserError
from hone.core.tables import require_tables

WAY_OUT = "Run this in a terminal, or write the password to its standard input."


class Command(BaseCommand):
    help = "Set a person's password, whatever they belong to. Asks for it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_tables()
            email = person_at(options["email"]).email
            password = asked_password("New password: ", way_out=WAY_OUT)
            person = operator_set_password(email=email, password=password)
        except UserError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{person.email} has a new password; their browsers are signed out.")
