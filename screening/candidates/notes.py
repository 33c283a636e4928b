"""Notes on candidates: texts that others have of a composition, such as the training row that a model has of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from cgcnn.data.composition import composition_keys
from cgcnn.errors import UserError
from cgcnn.models.card import read_card, weights_path
from cgcnn.models.files import read_domain
from screening.candidates.texts import make_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.domain import Domain
    from screening.candidates.texts import Text

ODD = np.frombuffer(b'",\n\r=+-@', dtype=np.uint8)
"""Letters that texts of a table may need quotes for, in any place; most ids have none but the hyphen."""


class Notes(Protocol):
    """Where further texts of a ranking come from."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""

    def texts(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> Mapping[str, Text | list[str]]:
        """The texts of n rows, by column; texts that need no quotes as bytes, others as strings."""


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
    columns: ClassVar[tuple[str, ...]] = ("known_source", "known_id")

    def texts(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, Text | list[str]]:  # noqa: ARG002  # species are canonical
        """The source of each row's label and its id; empty where the composition was not in the training."""
        count, domain = len(rows["species"]), self._domain
        if domain is None or not len(domain.ids):
            return dict.fromkeys(self.columns, np.zeros((0, count), dtype=np.uint8))
        keys = composition_keys(rows["species"])
        letters = domain.ids_of(keys) * self._agree(domain.labels_of(keys), rows)[:, None]  # (n, w)
        sources = make_text([self.source])[:, 0] * letters.any(axis=1, keepdims=True)
        return {"known_source": sources.T.copy(), "known_id": _quotable(letters)}

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


def _quotable(letters: np.ndarray) -> Text | list[str]:
    """Texts (n, w) of bytes as a table takes them."""
    if np.isin(letters[:, 1:], ODD[:4]).any() or np.isin(letters[:, :1], ODD).any():
        return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in letters]
    return np.ascontiguousarray(letters.T)
