"""METEOR by nltk over WordNet, where an operator installed both."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable
from typing import Any

from graders.kinds.text_similarity.overlap import words

MOST_WORDS = 2_000
"""Every word is compared with every other."""

NEEDED = (
    "needs nltk and its WordNet data, which are not installed here. The operator installs them "
    "with `pip install nltk` and `python -m nltk.downloader wordnet`"
)
_LOCK = threading.Lock()


class TooLong(ValueError):
    """A text with more words than are compared."""


@functools.cache
def meteor() -> Callable[[str, str], float] | None:
    """The metric, or None where it cannot run here."""
    try:
        score: Any = importlib.import_module("nltk.translate.meteor_score").meteor_score
        wordnet: Any = importlib.import_module("nltk.corpus").wordnet
        wordnet.ensure_loaded()
    except (ImportError, LookupError, OSError):
        return None

    def compare(text: str, reference: str) -> float:
        found, wanted = words(text), words(reference)
        if (longest := max(len(found), len(wanted))) > MOST_WORDS:
            raise TooLong(f"A text has {longest} words; METEOR compares at most {MOST_WORDS}.")
        # The reader of WordNet moves in files that all threads share.
        with _LOCK:
            return float(score([wanted], found, wordnet=wordnet))

    return compare
