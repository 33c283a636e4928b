"""Cascades: a student network sees every candidate, the ensemble only those that may reach the top.

The run keeps the cascade as its only record: workers read it, `verify` checks it, and a resumed run needs no second
fit. `screening.engine.cascade` makes it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.models.model import Student
from screening.store import Records, draft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype


@dataclass(frozen=True)
class Measured:
    """What a cascade achieves on a random sample of its candidates that the student never saw.

    Attributes:
        by: Column by which candidates are the best.
        share: Share of the candidates that pass the filters that counts as the best.
        cut: Value of the column for the last of the best in the sample.
        sampled: Number of candidates in the sample.
        best: Number of the best in the sample, by the ensemble.
        kept: Number of the best that the student passes on.
        passed: Number of all candidates of the sample that the student passes on.
        threshold: Largest value that the student passes on, on a scale of its own.
        whole_domain: Whether it passes on everything in the model's domain, which ranks first and is smaller than the
            best share; the cut is then among the rest.
    """

    by: str
    share: float
    cut: float
    sampled: int
    best: int
    kept: int
    passed: int
    threshold: float
    whole_domain: bool

    def covers(self, sort: str) -> bool:
        """Tell whether a ranking by these columns begins with the best that the cascade looks for."""
        column, _, direction = sort.split(",", maxsplit=1)[0].strip().partition(":")
        return column == self.by and direction in {"", "asc" if self.by == "e_above_hull" else "desc"}

    def beyond(self, rows: Mapping[str, np.ndarray]) -> int:
        """Count the rows of a ranking beyond the cut: the cascade may have set aside candidates as good as these."""
        values = rows[self.by]
        worse = values > self.cut if self.by == "e_above_hull" else values < self.cut
        return int(np.count_nonzero(worse & ~rows["in_domain"] if self.whole_domain else worse))

    def __str__(self) -> str:
        unit = " eV/atom" if self.by == "e_above_hull" else ""
        return (
            f"cascade by {self.by}: a student passes on {self.passed / self.sampled:.1%} of the candidates to the "
            f"ensemble, among them {self.kept:,} of the best {self.best:,} of a random sample of {self.sampled:,} "
            f"(recall {self.kept / self.best:.2%}). Rankings by {self.by} are complete, but for that, up to "
            f"{self.cut:.4f}{unit}, the best {self.share:.3g} of the candidates; those set aside are not ranked."
        )


@dataclass(frozen=True, eq=False)
class Cascade:
    """A student network, and the limit up to which it passes candidates on to the ensemble.

    Attributes:
        measured: Its aim, its limit and what it achieves.
        student: The network that sees every candidate.
    """

    measured: Measured
    student: Student

    @classmethod
    def of_records(cls, records: Records) -> Cascade:
        """Read the cascade of a run from its records.

        Raises:
            UserError: The records are missing or damaged.
        """
        content = json.loads(records.read(0, 1)[0])
        measured = Measured(**{field.name: content[field.name] for field in fields(Measured)})
        return cls(measured, Student.of_bytes(base64.b64decode(content["student"])))

    @cached_property
    def records(self) -> Records:
        """The run's copy of the cascade; its digest identifies it."""
        content = asdict(self.measured) | {"student": base64.b64encode(self.student.to_bytes()).decode()}
        return draft([json.dumps(content, sort_keys=True).encode()])

    def passes(
        self,
        prototype: Prototype,
        species: NDArray[np.uint8],
        a: NDArray[np.float32],
        in_domain: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Choose the candidates that the ensemble is to see: (n,). It sees every one that the student knows nothing of.

        Args:
            prototype: Prototype of the candidates.
            species: (n, n_sites) canonical species.
            a: (n,) Å, lattice constants.
            in_domain: (n,) which of them are in the model's domain.
        """
        hopeless = self.student.predict(prototype, species, a) > np.float32(self.measured.threshold)
        return ~(hopeless & ~in_domain if self.measured.whole_domain else hopeless)
