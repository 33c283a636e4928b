"""Compositions on a prototype: what spaces and lists of candidates have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.graphs.tilts import build
from screening.candidates.columns import OF_SOME_MODELS, SORTABLE, STATUS, Field, with_threshold
from screening.candidates.kind import UNTILTED, Grain
from screening.candidates.texts import formulas, states, symbols
from screening.chemistry.descriptors import columns as describe
from screening.chemistry.ions import sites_of
from screening.store import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.models.card import Card
    from screening.candidates.kind import Compositions
    from screening.chemistry.oxidation import StateSet

BATCH = 512
"""Candidates that the model sees at once. Batches start at absolute multiples of this, never at the edges of a
block, so that a candidate meets the same neighbours in its batch, and gets the same bits, whatever the blocks."""


_STATES = Field("states", "text", description="the most usual oxidation states that balance; none if empty")


class OnPrototype:
    """What spaces and lists share of `screening.candidates.kind.Compositions`."""

    grain: ClassVar[Grain] = Grain(BATCH, block=65_536, per_worker=18, counted=2_000_000, sifted=65_536, few=16_384)
    ranked: ClassVar[tuple[Column, ...]] = SORTABLE + OF_SOME_MODELS
    shown_by: ClassVar[tuple[str, ...]] = ("species", "charges")

    @property
    def remark_columns(self: Compositions) -> tuple[Field, ...]:
        """The oxidation states, and what notes there are."""
        return (_STATES, *(field for notes in self.notes for field in notes.columns))

    @property
    def ideal(self: Compositions) -> Prototype:
        """The structure that every candidate takes."""
        return PROTOTYPES[self.prototype]

    @property
    def map_sites(self: Compositions) -> dict[str, int]:
        """B and B' where there is a B', else A and B; and their columns in `species`."""
        sites = self.ideal.sites
        return {site: sites.index(site) for site in (("B", "B'") if "B'" in sites else ("A", "B"))}

    @property
    def site_groups(self: Compositions) -> dict[str, tuple[int, ...]]:
        """Sites and roles -> their columns in `species`; a role, such as B of A2BB'X6, has all of its sites."""
        sites = {name: (at,) for at, name in enumerate(self.ideal.sites)}
        return sites | {role: tuple(sites_of(role, self.ideal)) for role in self.ideal.role_names}

    def described(
        self: Compositions, rows: Mapping[str, np.ndarray], states: StateSet
    ) -> dict[str, NDArray[np.generic]]:
        """The chemical columns of rows of a run."""
        return describe(rows["species"], self.ideal, states)

    def columns(self: Compositions, stable_at: float) -> tuple[Column, ...]:
        """All columns of a run, for this threshold of `p_stable`, eV/atom."""
        sites = self.ideal.sites
        about = f"atomic numbers on {','.join(sites)}"
        species = Column("species", "uint8", "", about, 0, (len(sites),), ("site",))
        about = f"oxidation states on {','.join(sites)}; 0 where none balance"
        charges = Column("charges", "int8", "", about, 0, (len(sites),), ("site",))
        return (species, charges, STATUS, *with_threshold(self.ranked, stable_at))

    def identity(self: Compositions, start: int, stop: int) -> dict[str, np.ndarray]:
        """`species` of candidates [start, stop)."""
        return {"species": self.decode(start, stop)}

    def labels(self: Compositions, rows: Mapping[str, np.ndarray]) -> dict[str, pa.Array]:
        """Give the texts of n rows: formula, the element in each site column, oxidation states, notes."""
        species = rows["species"]
        found = {"formula": formulas(species, self.ideal)}
        found |= {name: symbols(species[:, at]) for name, at in name_sites(self).items()}
        found["states"] = states(species, rows["charges"])
        for notes in self.notes:
            found |= notes.columns_of(rows, self.ideal)
        return found

    def formula(self: Compositions, atoms: NDArray[np.generic]) -> str:
        """Write the formula of one candidate, from its species (n_sites,)."""
        return formula(atoms, self.ideal)

    def structure(
        self: Compositions, index: int, a: float, tilts: str = UNTILTED, *, conventional: bool = False
    ) -> Structure:
        """A candidate on the prototype, with the distance of neighbouring B cations a, Å, before tilts."""
        return build(self.ideal, self.decode(index, index + 1)[0], a, tilts, conventional=conventional)

    def cif(self: Compositions, index: int, a: float) -> str:
        """Write a candidate with lattice constant a, Å, as CIF: all atoms of the smallest cell, named by sites."""
        return str(self.structure(index, a).to(fmt="cif"))

    def unfit(self: Compositions, card: Card) -> str:
        """Why a model is not for this prototype."""
        if self.prototype in card.prototypes:
            return ""
        return f"trained for {', '.join(card.prototypes) or 'structures'}; the candidates are {self.prototype}"


def name_sites(candidates: Compositions) -> dict[str, int]:
    """The columns of a ranking that name a candidate -> the site whose element each shows."""
    ideal = candidates.ideal
    return {
        name: ideal.sites.index(name) if name in ideal.sites else ideal.roles.index(name)
        for name in candidates.name_columns
    }


def formula(species: np.ndarray, prototype: Prototype) -> str:
    """Write the formula of one candidate, species (n_sites,); see `screening.candidates.texts.formulas`."""
    return str(formulas(species[None], prototype)[0])
