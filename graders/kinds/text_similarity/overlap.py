"""How far two texts share n-grams: BLEU, GLEU and ROUGE, each from 0 to 1."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from rapidfuzz.distance import LCSseq

ORDERS = range(1, 5)
# Marks are tokens of their own; a number keeps its own points and commas.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]|_")
_WORD = re.compile(r"[^\W_]+")


def tokens(text: str) -> list[str]:
    """Words, numbers and punctuation marks; upper and lower case differ."""
    return _TOKEN.findall(text)


def words(text: str) -> list[str]:
    """Letters and digits alone, in lower case."""
    return _WORD.findall(text.lower())


def bleu(text: str, reference: str) -> float:
    """BLEU of one sentence, up to the n-grams that the text is long enough for.

    An order without a match counts as half a match, then a quarter and so on, so that one
    missing four-gram is not the end of it.
    """
    found, wanted = tokens(text), tokens(reference)
    logs: list[float] = []
    missed = 0
    for order in ORDERS:
        if (total := len(found) - order + 1) < 1:
            break
        matches = float(_common(found, wanted, order))
        if order == 1 and not matches:
            return 0.0
        if not matches:
            missed += 1
            matches = 0.5**missed
        logs.append(math.log(matches / total))
    if not logs:
        return 0.0
    brevity = min(0.0, 1.0 - len(wanted) / len(found))
    return min(1.0, math.exp(brevity + sum(logs) / len(logs)))


def gleu(text: str, reference: str) -> float:
    """The smaller of precision and recall over all n-grams of one to four tokens."""
    found, wanted = tokens(text), tokens(reference)
    matches = sum(_common(found, wanted, order) for order in ORDERS)
    return _share(matches, max(_count(found), _count(wanted)))


def rouge(order: int) -> Callable[[str, str], float]:
    """ROUGE-N: the F1 of common n-grams of words."""

    def score(text: str, reference: str) -> float:
        found, wanted = words(text), words(reference)
        total = max(0, len(found) - order + 1) + max(0, len(wanted) - order + 1)
        return _share(2 * _common(found, wanted, order), total)

    return score


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L: the F1 of the longest common subsequence of words."""
    found, wanted = words(text), words(reference)
    return _share(2 * LCSseq.similarity(found, wanted), len(found) + len(wanted))


def _common(found: Sequence[str], wanted: Sequence[str], order: int) -> int:
    return (_grams(found, order) & _grams(wanted, order)).total()


def _grams(sequence: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(sequence[start:] for start in range(order)), strict=False))


def _count(sequence: Sequence[str]) -> int:
    return sum(max(0, len(sequence) - order + 1) for order in ORDERS)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
