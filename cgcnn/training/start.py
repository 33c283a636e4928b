"""Training from Python: labelled crystals in, a model out; nothing is printed."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cgcnn.data.build import Builder, Rule
from cgcnn.data.sample import Sample, from_record
from cgcnn.machine import cores
from cgcnn.training.checkpoints import claim
from cgcnn.training.protocols import train as train_table
from cgcnn.training.recipe import read_recipe
from cgcnn.training.sources import choose_recipe, read_samples
from cgcnn.training.split import Division
from cgcnn.training.table import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cgcnn.training.members import Report
    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.results import Trained


def train(  # noqa: PLR0913  # settings, by name
    data: str | Path | Iterable[Mapping[str, Any]],
    target: str | Iterable[str] = (),
    *,
    recipe: TrainRecipe | str | Path | None = None,
    binary: str | Iterable[str] = (),
    division: Division | None = None,
    epochs: int | None = None,
    patience: int | None = None,
    members: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    cache: str | Path | None = None,
    checkpoints: str | Path | None = None,
    progress: Report = lambda _stage, _member, _progress: None,
) -> Trained:
    """Train a model on labelled crystals.

    Args:
        data: A file or directory in any format of `cgcnn.data.formats`; or records, such as the rows of a table, with
            ``structure`` (of pymatgen) and labels.
        target: Labels to learn; none: those of the recipe, or ``target``.
        recipe: A recipe, or the name of a shipped one, or a file; None: structures, plain settings.
        binary: Labels that are 0 or 1, to learn as probabilities.
        division: How the rows are split; None: as the recipe says, 60/20/20 without one.
        epochs: Instead of the recipe's.
        patience: Epochs without a better validation after which to stop.
        members: Instead of the recipe's.
        seed: Of the split and the first member; other members count on.
        workers: Processes that build graphs; None for as many as there are cores.
        cache: Folder of built graphs; None for none.
        checkpoints: Folder that keeps the progress, to go on from by the same call; None for none.
        progress: Called with the stage, the member and its `cgcnn.training.fit.Progress` after every epoch.

    Returns:
        The model (``best``), its ``card``, what was measured, and ``save(path)``.

    Raises:
        UserError: There is no such recipe or path, no crystal is usable or has the label, or training diverged.
    """
    base = read_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
    samples = read_samples(Path(data), base) if isinstance(data, (str, Path)) else [*_of_records(data)]
    about = ("model", Path(data).name if isinstance(data, (str, Path)) else "records")
    how = {"epochs": epochs, "patience": patience, "members": members, "seed": seed}
    chosen = choose_recipe(base, samples, about, (_names(target), _names(binary)), **how)
    builder = Builder(Rule.of(chosen.settings), workers or cores(), Path(cache) if cache else None)
    found = prepare(samples, chosen, builder)
    splits = (division or Division()).splits(found.usable, [sample.labels for sample in found.samples], chosen)
    with _folder(checkpoints) as folder:
        claim(folder, found.table, chosen, splits, resume=True)
        return train_table(found.table, chosen, splits, folder, progress)


def _of_records(records: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    rows = records.to_dict("records") if hasattr(records, "to_dict") else records
    for i, row in enumerate(rows):
        yield from_record({k: v.as_dict() if hasattr(v, "as_dict") else v for k, v in row.items()}, i)


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@contextmanager
def _folder(checkpoints: str | Path | None) -> Iterator[Path]:
    if checkpoints is not None:
        yield Path(checkpoints)
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)
