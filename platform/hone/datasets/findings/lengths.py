"""How many tokens the rows have, for each base model's tokenizer. Needs `tokenizers` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from tokenizers import Tokenizer

from hone.datasets.findings.known import KnownModel

BINS = 16


class Lengths:
    """Counts the tokens of texts by one model."""

    def __init__(self, model: KnownModel) -> None:
        self.model = model
        self._tokenizer = Tokenizer.from_file(str(model.tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._found: list[int] = []

    def see(self, texts: list[str]) -> None:
        encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        self._found += [len(each) for each in encoded]

    def report(self) -> dict[str, Any]:
        """Percentiles and a histogram."""
        found = np.asarray(self._found)
        counts, edges = np.histogram(found, bins=min(BINS, max(1, int(np.ptp(found)))))
        p50, p95, p99 = (int(each) for each in np.percentile(found, (50, 95, 99)))
        context = self.model.context
        return {
            "model": self.model.name,
            "rows": len(found),
            "p50": p50,
            "p95": p95,
            "p99": p99,
            "max": int(found.max()),
            "context": context,
            "over": int((found > context).sum()) if context else 0,
            "bins": [int(each) for each in counts],
            "low": int(edges[0]),
            "high": int(round(edges[-1])),
        }
