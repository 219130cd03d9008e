"""95 % intervals of few values: Student's t, and Wilson's of a share. Pure."""

from __future__ import annotations

from math import sqrt

Z = 1.959964
"""The 97.5 % point of the normal distribution."""
_FEW = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706)
"""Of 1 to 5 degrees of freedom, where the expansion is too far off."""


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t: exact for few degrees of freedom, else by the expansion of
    Cornish and Fisher, which is right to 0.002 from six on."""
    if freedom <= len(_FEW):
        return _FEW[max(freedom, 1) - 1]
    return (
        Z
        + (Z**3 + Z) / (4 * freedom)
        + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
        + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * freedom**3)
    )


def wilson(mean: float, size: int) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927); all of 0 to 1 where nothing is known."""
    if not size:
        return 0.0, 1.0
    share = Z * Z / size
    centre = (mean + share / 2) / (1 + share)
    half = sqrt(share * (max(0.0, mean * (1 - mean)) + share / 4)) / (1 + share)
    # Exactly the end where all are the same: rounding would miss it.
    return (
        centre - half if mean > 0 else 0.0,
        centre + half if mean < 1 else 1.0,
    )
