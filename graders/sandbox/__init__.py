"""Runs graders' Python out of reach; refuses rather than run weakly. No Django here."""

from graders.sandbox.isolation import Isolation, SandboxUnavailable, probe

__all__ = ["Isolation", "SandboxUnavailable", "probe"]
