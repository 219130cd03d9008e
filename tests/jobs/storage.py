"""A file storage with no folder on this machine, as an object store is, and that can be away."""

from __future__ import annotations

from typing import IO, ClassVar

from django.core.files.base import ContentFile
from django.core.files.storage import Storage


class Elsewhere(Storage):
    """While `refused` is above zero, that many calls are refused."""

    refused: ClassVar[int] = 0

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def _answer(self) -> None:
        if Elsewhere.refused > 0:
            Elsewhere.refused -= 1
            raise ConnectionError("Connection reset by peer")

    def exists(self, name: str) -> bool:
        self._answer()
        return name in self.files

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """As an object store: no folders, and nothing below a name that does not exist."""
        self._answer()
        below = [
            name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/")
        ]
        return [], [name for name in below if "/" not in name]

    def delete(self, name: str) -> None:
        self._answer()
        self.files.pop(name, None)

    def _open(self, name: str, mode: str = "rb") -> ContentFile[bytes]:
        self._answer()
        if name not in self.files:
            raise FileNotFoundError(name)
        return ContentFile(self.files[name], name=name)

    def _save(self, name: str, content: IO[bytes]) -> str:
        self._answer()
        self.files[name] = content.read()
        return name
