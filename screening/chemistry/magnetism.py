"""Initial magnetic moments for calculations of candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOMENTS = {
    "V": 5.0, "Cr": 5.0, "Mn": 5.0, "Fe": 5.0, "Co": 5.0, "Ni": 5.0, "Mo": 5.0, "W": 5.0, "Ru": 5.0, "Re": 5.0,
    "Os": 5.0, "Ir": 5.0, "Ce": 1.0, "Pr": 2.0, "Nd": 3.0, "Pm": 4.0, "Sm": 5.0, "Eu": 7.0, "Gd": 7.0, "Tb": 6.0,
    "Dy": 5.0, "Ho": 4.0, "Er": 3.0, "Tm": 2.0, "Yb": 1.0, "U": 2.0, "Np": 3.0, "Pu": 5.0,
}  # fmt: skip
"""Bohr magnetons with which the calculation of a magnetic cation is begun: of d elements 5, from which it relaxes to
any spin state, as the Materials Project begins (MPRelaxSet of pymatgen); of f elements the unpaired spins of the ion
with charge 3+ (Eu: 2+). All are parallel; other orders are further starts."""


def guess_moments(symbols: Iterable[str]) -> list[float] | None:
    """Guess the moments of atoms, Bohr magnetons; None where no atom has one."""
    moments = [MOMENTS.get(symbol, 0.0) for symbol in symbols]
    return moments if any(moments) else None
