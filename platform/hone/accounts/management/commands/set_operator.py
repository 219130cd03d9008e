"""`manage.py set_operator EMAIL`: who sees what works on this installation."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hone.accounts.services import operator_set, person_at
from hone.core.errors import UserError
from hone.core.tables import require_tables


class Command(BaseCommand):
    help = "Let a person see Settings, System: the findings of `manage.py doctor`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--take", action="store_true", help="take the right away again")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_tables()
            person = person_at(options["email"])
        except UserError as error:
            raise CommandError(error.message) from error
        operator_set(person, is_operator=not options["take"])
        became = "is no longer an operator" if options["take"] else "is an operator"
        self.stdout.write(f"{person.email} {became}.")
