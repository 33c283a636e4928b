"""Candidates of a prototype by the symbols of their elements."""

from __future__ import annotations

from itertools import chain, combinations, product
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import atomic_number
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype


def candidates(prototype: Prototype, elements: Mapping[str, str | Iterable[str]]) -> NDArray[np.uint8]:
    """Species (n, n_sites) of every candidate with these elements on the sites of each role.

    The sites of anions, X, hold one element in each candidate; several sites of cations hold different ones, such as
    B and B' of a double perovskite, and no candidate comes twice.

    Args:
        prototype: Of the candidates.
        elements: Role → a symbol, or several.

    Raises:
        UserError: A role is missing, is none of the prototype's, or has too few elements; or a symbol is no element.
    """
    unknown = [role for role in elements if role not in prototype.role_names]
    if unknown:
        known = ", ".join(prototype.role_names)
        raise UserError(f"{prototype.name} has no role {unknown[0]}; give elements for {known}")
    choices = []
    for role in prototype.role_names:
        given = elements.get(role, ())
        numbers = [atomic_number(symbol) for symbol in dict.fromkeys([given] if isinstance(given, str) else given)]
        sites = prototype.roles.count(role)
        if not numbers:
            raise UserError(f"{prototype.name}: no elements for {role}; give a symbol or several")
        if role != "X" and len(numbers) < sites:
            raise UserError(f"{prototype.name}: {role} takes {sites} different elements; {len(numbers)} given")
        choices.append([(z,) * sites for z in numbers] if role == "X" else list(combinations(numbers, sites)))
    columns = [i for role in prototype.role_names for i, of in enumerate(prototype.roles) if of == role]
    rows = np.array([list(chain(*chosen)) for chosen in product(*choices)], dtype=np.uint8)
    species = np.empty_like(rows)
    species[:, columns] = rows
    return species
