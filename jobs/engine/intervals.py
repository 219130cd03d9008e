"""Student's t for intervals of few values. Pure."""

from __future__ import annotations

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
