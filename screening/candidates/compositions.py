"""Compositions on a prototype: what spaces and lists of candidates share, and which were in a model's training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cgcnn.data.composition import composition_keys
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.graphs.tilts import build
from cgcnn.models.card import read_card, weights_path
from cgcnn.models.files import read_domain
from screening.candidates.kind import OF_SOME_MODELS, SORTABLE, STATUS, UNTILTED, Field, Grain, with_threshold
from screening.candidates.texts import array, formulas, from_bytes, states, strings, symbols
from screening.chemistry.ions import sites_of, tables
from screening.chemistry.sources import NUMBERS
from screening.store import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pymatgen.core.structure import Structure

    from cgcnn.models.card import Card
    from cgcnn.models.domain import Domain
    from screening.candidates.kind import Candidates, Notes

    _Base = Candidates
else:
    _Base = ABC  # the properties of a protocol would hide the fields of a dataclass

Species = NDArray[np.uint8]

BATCH = 512
"""Candidates that the model sees at once. Batches start at absolute multiples of this, never at the edges of a block:
a candidate always meets the same neighbours in its batch, and gets the same bits, whatever the blocks."""

UNLIKE = 0.17
"""Å by which the radii of B and B' differ where they order although their charges do not."""

_STATES = Field("states", "text", description="the most common oxidation states that balance; empty if none do")


@dataclass(frozen=True)
class Compositions(_Base):
    """Candidates that are elements on the sites of a prototype.

    Attributes:
        prototype: Name of the prototype, such as "cubic-perovskite".
        notes: Further columns for rankings.
    """

    prototype: str
    notes: tuple[Notes, ...] = field(default=(), compare=False, kw_only=True)
    grain: ClassVar[Grain] = Grain(BATCH, block=65_536, per_worker=18, counted=2_000_000, sifted=65_536, few=16_384)
    ranked: ClassVar[tuple[Column, ...]] = SORTABLE + OF_SOME_MODELS
    shown_by: ClassVar[tuple[str, ...]] = ("species", "charges")

    @abstractmethod
    def decode(self, start: int, stop: int) -> Species:
        """Return the candidates [start, stop).

        Returns:
            (n, n_sites) atomic numbers in the order of the prototype's sites, canonical; 0 in unusable rows.
        """

    def unusable(self, start: int, stop: int) -> dict[int, str]:  # noqa: ARG002  # lists need it
        """Explain which rows of [start, stop) are no candidates: reasons by index. Every row is one by default."""
        return {}

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:  # noqa: ARG002  # likewise
        """Read the texts that came with these candidates, by index. None did by default."""
        return {}

    def noted(self, *notes: Notes) -> Self:
        """Return the same candidates with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def remark_columns(self) -> tuple[Field, ...]:
        """The oxidation states, and the columns of the notes."""
        return (_STATES, *(column for notes in self.notes for column in notes.columns))

    @property
    def ideal(self) -> Prototype:
        """The prototype itself."""
        return PROTOTYPES[self.prototype]

    @property
    def site_groups(self) -> dict[str, tuple[int, ...]]:
        """Sites and roles -> their columns in `species`; a role, such as B of A2BB'X6, has all of its sites."""
        sites = {name: (at,) for at, name in enumerate(self.ideal.sites)}
        return sites | {role: tuple(sites_of(role, self.ideal)) for role in self.ideal.role_names}

    def columns(self, stable_at: float) -> tuple[Column, ...]:
        """Return all columns of a run, for this threshold of `p_stable`, eV/atom."""
        sites = self.ideal.sites
        about = f"atomic numbers on {','.join(sites)}"
        species = Column("species", "uint8", "", about, 0, (len(sites),), ("site",))
        about = f"oxidation states on {','.join(sites)}; 0 where none balance"
        charges = Column("charges", "int8", "", about, 0, (len(sites),), ("site",))
        return (species, charges, STATUS, *with_threshold(self.ranked, stable_at))

    def identity(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Compute `species` of candidates [start, stop)."""
        return {"species": self.decode(start, stop)}

    def labels(self, rows: Mapping[str, np.ndarray]) -> dict[str, pa.Array]:
        """Write the texts of n rows: formula, the element in each site column, oxidation states, notes."""
        species, ideal = rows["species"], self.ideal
        found = {"formula": formulas(species, ideal, rows["charges"])}
        for name in self.name_columns:
            site = ideal.sites.index(name) if name in ideal.sites else ideal.roles.index(name)
            found[name] = symbols(species[:, site])
        found["states"] = states(species, rows["charges"])
        for notes in self.notes:
            found |= notes.columns_of(rows, ideal)
        return found

    def formulas(self, atoms: NDArray[Any]) -> pa.Array:
        """Write the formulas of species (n, n_sites)."""
        return formulas(atoms, self.ideal)

    def structure(self, index: int, a: float, tilts: str = UNTILTED, *, conventional: bool = False) -> Structure:
        """Build a candidate on the prototype; a is the distance of neighbouring B cations before tilts, Å."""
        return build(self.ideal, self.decode(index, index + 1)[0], a, tilts, conventional=conventional)

    def cif(self, index: int, a: float) -> str:
        """Write a candidate with lattice constant a, Å, as CIF: all atoms of the smallest cell, named by sites."""
        return str(self.structure(index, a).to(fmt="cif"))

    def unfit(self, card: Card) -> str:
        """Explain why a model is not for this prototype; empty if it is."""
        if self.prototype in card.prototypes:
            return ""
        return f"trained for {', '.join(card.prototypes) or 'structures'}; the candidates are {self.prototype}"


@dataclass(frozen=True)
class OrderOfB:
    """Notes on whether B and B' of double perovskites are likely to share their sites at random.

    Oxides order as rock salt if the charges of B and B' differ by three or more, and by two with some difference in
    size; with less, they are mostly disordered unless the radii differ by 0.17 Å or more (Anderson et al., Prog. Solid
    State Chem. 1993, 22, 197; Vasala and Karppinen, ibid. 2015, 43, 1). Halides order far more readily, and the rules
    say nothing of them.
    """

    columns: ClassVar[tuple[Field, ...]] = (
        Field("b_order", "text", description="whether B and B' of an oxide order, by their charges and radii"),
    )

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, pa.Array]:
        """Return likely, unsure or unlikely for each row; null for ABX3, for other than oxides and without charges."""
        species, charges, sites = rows["species"], rows["charges"], sites_of("B", prototype)
        said = pa.nulls(len(species), pa.string())
        if len(sites) != 2:
            return {"b_order": said}
        radius = tables().radius["B"]
        (one, two) = (radius[species[:, site], charges[:, site]] for site in sites)
        apart = np.abs(charges[:, sites[0]].astype(int) - charges[:, sites[1]])
        large = np.abs(one - two) >= UNLIKE
        of_oxide = (species[:, prototype.on_x] == NUMBERS["O"]).all(axis=1) & charges.any(axis=1)
        texts = strings(["likely", "unsure", "unlikely"])
        which = np.where((apart >= 3) | ((apart == 2) & large), 0, np.where((apart == 2) | large, 1, 2))
        return {"b_order": pc.if_else(array(of_oxide), texts.take(array(which)), said)}


@dataclass(frozen=True)
class TrainingRows:
    """Notes on which row of a model's training has a candidate's composition, and whose data it is from.

    The ranking asks the model, so that runs need not store ids. If the model is gone, or has another label than the
    run, the columns stay empty.

    Attributes:
        name: Name of the model.
        path: Path of its weights when the run was made.
    """

    name: str
    path: str
    columns: ClassVar[tuple[Field, ...]] = (
        Field("known_source", "text", description="who computed the DFT value in the training"),
        Field("known_id", "text", description="the id of its row in the training data"),
    )

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, pa.Array]:  # noqa: ARG002  # species are canonical
        """Return the source of each row's label and its id; null where the composition was not in the training."""
        count, domain = len(rows["species"]), self._domain
        if domain is None or not len(domain.ids):
            return dict.fromkeys((field.name for field in self.columns), pa.nulls(count, pa.string()))
        keys = composition_keys(rows["species"])
        letters = domain.ids_of(keys) * self._agree(domain.labels_of(keys), rows)[:, None]  # (n, w)
        known = array(letters.any(axis=1))
        return {
            "known_source": pc.if_else(known, strings([self.source])[0], pa.nulls(1, pa.string())[0]),
            "known_id": from_bytes(letters),
        }

    @staticmethod
    def _agree(labels: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Compare labels with those of the run: (n,)."""
        kept = rows.get("known_e_above_hull")
        if kept is None:  # a run of an earlier version
            return np.zeros(len(labels), dtype=np.bool_)
        return np.asarray((labels == kept) | (np.isnan(labels) & np.isnan(kept)))

    @cached_property
    def _found(self) -> str | None:
        """Path of the weights where they were, or of the shipped ones of this name."""
        for place in (self.path, self.name):
            try:
                return str(weights_path(place))
            except UserError:
                continue
        return None

    @cached_property
    def _domain(self) -> Domain | None:
        return None if self._found is None else read_domain(self._found)

    @cached_property
    def source(self) -> str:
        """Short name of whose numbers the labels are."""
        return "" if self._found is None else read_card(self._found).source
