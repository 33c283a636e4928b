"""Notes on candidates: texts that others have of a composition, such as the training row that a model has of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cgcnn.data.composition import composition_keys
from cgcnn.errors import UserError
from cgcnn.models.card import read_card, weights_path
from cgcnn.models.files import read_domain
from screening.candidates.columns import Field
from screening.candidates.texts import array, from_bytes, strings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.domain import Domain


class Notes(Protocol):
    """Where further texts of a ranking come from."""

    @property
    def columns(self) -> tuple[Field, ...]:
        """What they are, in order."""

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> Mapping[str, pa.Array]:
        """Give the values of n rows, by column; null where there is nothing."""


@dataclass(frozen=True)
class TrainingRows:
    """Which row of a model's training has a candidate's composition, and from whose data.

    The model is asked when a ranking is made, so that runs need not keep ids. Where it is not there any more, or has
    another label than the run, nothing is said.

    Attributes:
        name: Of the model.
        path: Of its weights when the run was made.
    """

    name: str
    path: str
    columns: ClassVar[tuple[Field, ...]] = (
        Field("known_source", "text", description="whose the DFT value in the training is"),
        Field("known_id", "text", description="the id of its row in the training data"),
    )

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, pa.Array]:  # noqa: ARG002  # species are canonical
        """Give the source of each row's label and its id; null where the composition was not in the training."""
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
        """(n,) whether labels are those that the run has."""
        kept = rows.get("known_e_above_hull")
        if kept is None:  # a run of an earlier version
            return np.zeros(len(labels), dtype=np.bool_)
        return np.asarray((labels == kept) | (np.isnan(labels) & np.isnan(kept)))

    @cached_property
    def _found(self) -> str | None:
        """The weights where they were, or the shipped ones of this name."""
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
        """Whose numbers the labels are, in short."""
        return "" if self._found is None else read_card(self._found).source
