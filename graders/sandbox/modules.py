"""What a grader can import, inside the sandbox's server. Standard library only.

Some modules are loaded when the server starts, and the larger ones when a source first names them:
always by the server, from this list alone, before a grading's process locks itself in. That keeps
each grading quick, and spares libraries what they cannot do afterwards, as starting threads.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

from graders.sandbox import scratch

FIRST = """
_strptime abc argparse array ast base64 binascii bisect bz2 calendar cmath codecs
collections.abc colorsys concurrent.futures configparser
contextlib copy copyreg csv ctypes dataclasses datetime decimal difflib dis
encodings.ascii encodings.cp1252 encodings.idna encodings.latin_1
encodings.punycode encodings.rot_13 encodings.utf_16 encodings.utf_32 enum fcntl fnmatch
fractions functools getopt glob graphlib gzip hashlib heapq hmac html html.entities
html.parser importlib.util inspect io ipaddress
itertools json keyword linecache locale logging lzma marshal math mmap
ntpath numbers opcode operator os pathlib pickle pkgutil posixpath pprint queue quopri random re
reprlib resource sched secrets select selectors shlex shutil signal socket stat statistics string
stringprep struct subprocess symtable tempfile textwrap threading time timeit
token tokenize traceback types typing unicodedata urllib.parse uuid
warnings weakref zlib
numpy numpy.fft numpy.linalg numpy.random
rapidfuzz rapidfuzz.distance rapidfuzz.fuzz rapidfuzz.process rapidfuzz.utils
"""

WHEN_NAMED = {
    "asyncio": "asyncio",
    "email": "email.utils email.parser",
    "ma": "numpy.ma",
    "metadata": "importlib.metadata",
    "multiprocessing": "multiprocessing.context multiprocessing.popen_fork",
    "platform": "platform",
    "polynomial": "numpy.polynomial",
    "request": "urllib.request",
    "sqlite3": "sqlite3",
    "tarfile": "tarfile",
    "tomllib": "tomllib",
    "unittest": "unittest.mock",
    "xml": "xml.dom.minidom xml.etree.ElementTree",
    "zipfile": "zipfile",
    "zoneinfo": "zoneinfo",
    "scipy": (
        "scipy.stats scipy.optimize scipy.spatial.distance scipy.special scipy.linalg scipy.sparse "
        "scipy.signal scipy.interpolate scipy.integrate"
    ),
    "sympy": "sympy sympy.parsing.sympy_parser",
    "pandas": "pandas",
    "sklearn": (
        "sklearn.metrics.pairwise sklearn.feature_extraction.text sklearn.preprocessing "
        "sklearn.linear_model sklearn.cluster sklearn.neighbors sklearn.decomposition "
        "sklearn.ensemble"
    ),
    "rouge_score": "rouge_score.rouge_scorer",
    "deepdiff": "deepdiff",
    "jsonschema": "jsonschema",
    "pydantic": "pydantic pydantic.main pydantic.types importlib.metadata",
    "yaml": "yaml",
    "nltk": (
        "nltk nltk.corpus nltk.metrics nltk.stem nltk.tokenize nltk.translate.bleu_score "
        "nltk.translate.meteor_score"
    ),
    "sqlparse": "sqlparse",
    "rdkit": "rdkit.Chem.AllChem rdkit.Chem.Descriptors rdkit.DataStructs",
    "skbio": "skbio",
    "ast_grep_py": "ast_grep_py",
}
"""Word in a source → what the server loads for it, where it is installed."""

_WHILE_LOADING = {
    **{"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    "HOME": scratch.PLACE,
}
"""No threads, and a home for who asks for one; no grader sees any of it."""
_NUMBERS = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64"


class Finder(MetaPathFinder):
    """Finds the libraries that graders may use, and nothing beside them."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self._places.get(name)
        if place is None:
            return None
        if place.endswith((".py", ".so")):
            return spec_from_file_location(name, place)
        return spec_from_file_location(
            name, f"{place}/__init__.py", submodule_search_locations=[place]
        )


class Loader:
    """Loads the modules of the list, each at most once."""

    def __init__(self, places: Mapping[str, str], nltk_data: Sequence[str]) -> None:
        self._nltk_data = nltk_data
        self._tried: set[str] = set()
        sys.meta_path.append(Finder(places))

    def load(self, names: Iterable[str]) -> bool:
        """Load what `names` stand for in the list; whether there was anything new."""
        new = [name for name in names if name in WHEN_NAMED and name not in self._tried]
        self._tried.update(new)
        for name in new:
            self._import(WHEN_NAMED[name])
        if "sklearn" in new:
            _look_for_threads()
        if self._nltk_data and "nltk.data" in sys.modules:
            sys.modules["nltk.data"].path[:] = self._nltk_data
        return bool(new)

    def load_first(self) -> frozenset[type]:
        """What every grader finds loaded; returns the number types of numpy."""
        self._import(FIRST)
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return frozenset()
        return frozenset(getattr(numpy, name) for name in _NUMBERS.split())

    def _import(self, names: str) -> None:
        os.environ.update(_WHILE_LOADING)
        for name in names.split():
            # What is not installed, or does not load here, is an ImportError of the grader's own.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        os.environ.clear()


def _look_for_threads() -> None:
    """It asks the loaded libraries by ctypes, which a grader may not use, and remembers."""
    with contextlib.suppress(Exception):
        parallel = importlib.import_module("sklearn.utils.parallel")
        parallel._get_threadpool_controller().limit(limits=1)
