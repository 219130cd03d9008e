"""The libraries that graders may import: which of them are installed, and where they lie.

The list is the contract's. A library brings what it requires, so the search follows the
requirements of installed distributions. Nothing else of `site-packages` is shown to a grader.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CONTRACT = (
    *("numpy", "scipy", "sympy", "pandas", "rapidfuzz", "scikit-learn", "rouge-score", "deepdiff"),
    *("jsonschema", "pydantic", "pyyaml", "nltk", "sqlparse", "rdkit", "scikit-bio"),
    "ast-grep-py",
)
"""Distributions by the names that the package index gives them."""

MODULES = {
    "scikit-learn": "sklearn",
    "rouge-score": "rouge_score",
    "pyyaml": "yaml",
    "scikit-bio": "skbio",
    "ast-grep-py": "ast_grep_py",
}
"""What a distribution is called when it is imported, where that is another word."""

INSTALL = "pip install -c constraints.txt -e '.[graders]'"

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MODULE_FILE = re.compile(r"([A-Za-z_]\w*)(\.[\w-]+)*\.(py|so)")
_FOLDER = re.compile(r"[A-Za-z_]\w*(\.libs)?")


@dataclass(frozen=True)
class Libraries:
    """What was found: modules by name, shared libraries beside them, and distributions by name."""

    installed: dict[str, str]
    """Of the contract's distributions: name → version."""
    modules: dict[str, str]
    """Top-level name → the folder of a package, or the file of a module."""
    beside: tuple[str, ...]
    """Folders of shared libraries that modules load, as `numpy.libs`."""

    @property
    def missing(self) -> list[str]:
        return [name for name in CONTRACT if name not in self.installed]

    @property
    def paths(self) -> list[str]:
        """All that a grader may read of them."""
        return sorted({*self.modules.values(), *self.beside})


@functools.cache
def find() -> Libraries:
    """The contract's libraries that are installed, with all that they require."""
    installed: dict[str, str] = {}
    modules: dict[str, str] = {}
    beside: list[str] = []
    waiting, seen = list(CONTRACT), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if name in CONTRACT:
            installed[name] = found.version
        waiting += map(_plain, _requirements(found))
        for place in _places(found):
            if place.suffix == ".libs":
                beside.append(str(place))
            else:
                modules[place.name.split(".")[0]] = str(place)
    return Libraries(installed, modules, tuple(beside))


def module_of(distribution: str) -> str:
    """The name under which a distribution is imported."""
    return MODULES.get(distribution, distribution)


def _requirements(found: metadata.Distribution) -> Iterator[str]:
    for line in found.requires or ():
        needed, _, condition = line.partition(";")
        match = _REQUIREMENT.match(needed)
        if match and "extra" not in condition:
            yield match[0]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _places(found: metadata.Distribution) -> Iterator[Path]:
    """Its packages, modules and folders of shared libraries, by the list of files it came with."""
    record = found.read_text("RECORD") or ""
    tops: dict[str, bool] = {}
    for line in record.splitlines():
        path = line.rsplit(",", 2)[0].strip('"')
        top, slash, _ = path.partition("/")
        tops[top] = bool(slash)
    for top, is_folder in tops.items():
        if top != "__pycache__" and (_FOLDER if is_folder else _MODULE_FILE).fullmatch(top):
            place = Path(str(found.locate_file(top))).resolve()
            if place.exists():
                yield place
