"""What is kept of a version's rows to compare them with those of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hone.datasets.findings.near import Signatures

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Prints:
    """Of each row a hash of its messages, and of the sampled rows their numbers and signatures."""

    prompts: Hashes
    sampled: Hashes
    signatures: Signatures
