"""Passwords of tests: Argon2 as in production, at a cost that hundreds of tests can bear."""

from __future__ import annotations

from django.contrib.auth.hashers import Argon2PasswordHasher


class QuickArgon2(Argon2PasswordHasher):
    """Its hashes name their own cost, so that a process with the usual hasher reads them too."""

    time_cost = 1
    memory_cost = 64
    parallelism = 1
