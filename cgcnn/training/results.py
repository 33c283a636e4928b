"""What a training came to, and what it leaves in files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.files import with_end, write_csv, write_whole
from cgcnn.models.card import Metric
from cgcnn.models.files import save
from cgcnn.training.split import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.models.card import Card
    from cgcnn.models.model import Model
    from cgcnn.training.table import Table


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        best: The model: members at their epochs of lowest validation loss. Its card holds what held-out rows say of it.
        last: Members after their last epochs; None where no rows chose the best ones, since all were trained on.
        metrics: Figures of every part that has labels; with k folds only of the test part, after a check of its fold.
        table: The rows.
        part: (n,) int8, see `Split.part`; with k folds, rows that were measured are in the test part.
        prediction: (n, T) float32 by the best members; with k folds, by the member that did not see the row.
        history: Rows with member, epoch, loss and validation loss.
    """

    best: Model
    last: Model | None
    metrics: tuple[Metric, ...]
    table: Table
    part: NDArray[np.int8]
    prediction: NDArray[np.float32]
    history: tuple[dict[str, Any], ...]

    @property
    def card(self) -> Card:
        """That of the model."""
        return self.best.card

    def save(self, path: str | Path) -> list[Path]:
        """Write the model and what there is besides.

        The best model goes to ``PATH.safetensors`` and ``.json``, the last one to ``PATH-last``; figures to
        ``PATH.metrics.json`` and ``.csv``, test rows with their predictions to ``PATH.test.csv``, losses of every epoch
        to ``PATH.history.csv``. A model that was trained on all rows, after a check, is written alone.

        Returns:
            The files; the model is the first.

        Raises:
            UserError: A file cannot be written.
        """
        output = Path(path)
        if self.last is None:
            return [save(self.best, output)]
        last = save(self.last, with_end(output, "-last"))
        files = [with_end(output, end) for end in (".metrics.json", ".metrics.csv", ".test.csv", ".history.csv")]
        metrics = [metric.model_dump() for metric in self.metrics]
        sizes = {name: int((self.part == i).sum()) for i, name in enumerate(PARTS)}
        content = {"model": self.card.name, "digest": self.best.digest, "rows": sizes, "metrics": metrics}
        write_whole(files[0], json.dumps(content, indent=2) + "\n")
        write_csv(files[1], list(Metric.model_fields), [list(metric.values()) for metric in metrics])
        write_csv(files[2], *_test_rows(self))
        write_csv(files[3], list(self.history[0]), [list(row.values()) for row in self.history])
        return [save(self.best, output), last, *files]


def _test_rows(trained: Trained) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the test part: ids, and for each target the label and the prediction."""
    columns = ["id", *(f"{name}{end}" for name in trained.best.settings.targets for end in ("", "_prediction"))]
    labels, ids = trained.table.targets, trained.table.ids
    rows = [
        [ids[i], *(_text(v) for pair in zip(labels[i], trained.prediction[i], strict=True) for v in pair)]
        for i in np.flatnonzero(trained.part == PARTS.index("test")).tolist()
    ]
    return columns, rows


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"
