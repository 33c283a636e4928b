"""What each site contributes: maps of a model, and the best candidates of a run site by site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.inference.explain import check_explains, explain, predictions, site_contributions
from cgcnn.models.card import weights_path
from cgcnn.models.model import Model, load
from screening.results.outputs import SHOWN, formula
from screening.results.ranking import READ, Ranking, rank
from screening.store import Run, exists

if TYPE_CHECKING:
    from pathlib import Path


def explain_any(what: str, folder: Path, model: str | None, top: int | None) -> None:
    """Explain a model; or the model of a run (or another one, by name or path), and the run's best candidates.

    Raises:
        UserError: There is neither such a model nor such a run, the model does not pool linearly or does not fit the
            run, or a file cannot be written.
    """
    if not exists(what):
        files = explain(load(_model_path(what)), folder)
    else:
        with Run.open(what) as run:
            chosen = load(model or run.header.model)
            _check(chosen, run, named=model is not None)
            ranking = rank(((rows.start, dict(rows.columns)) for rows in run.blocks(READ)), top=top or SHOWN)
        files = explain(chosen, folder)
        files.append(folder / "candidates.csv")
        _write_candidates(files[-1], ranking, chosen.taking(run.header.space["prototype"]))
    click.echo(f"{folder}: {', '.join(file.name for file in files)} written", err=True)


def _model_path(what: str) -> Path:
    try:
        return weights_path(what)
    except UserError:
        raise UserError(f"{what}: neither a run nor a model. `screen models` lists the shipped models.") from None


def _check(model: Model, run: Run, *, named: bool) -> None:
    header = run.header
    if not named and model.digest != header.model_digest:
        raise UserError(f"{header.model}: not the model that made {run.target.url} any more. Name one with --model.")
    check_explains(model.card)
    made_of = header.space.get("prototype")
    if made_of not in model.card.prototypes:
        takes = ", ".join(model.card.prototypes) or "structures"
        raise UserError(f"--model {model.card.name}: takes {takes}; the run holds {made_of or 'structures'}.")


def _write_candidates(path: Path, ranking: Ranking, model: Model) -> None:
    """Write ``rank,index,formula``, the element on each site, the prediction and what each site contributes to it."""
    target, sites = model.settings.targets[0], model.prototype.sites
    species = model.prototype.canonical(ranking.rows["species"])
    values = site_contributions(model, species)[target]  # (n, n_sites)
    means = predictions(model.prototype, values)  # (n,)
    names = [f"{site}_contribution" for site in sites]
    rows = [
        [
            str(i + 1),
            str(index),
            formula(row, model.prototype),
            *(SYMBOLS[z] for z in row),
            *(f"{x:.5f}" for x in (whole, *found)),
        ]
        for i, (index, row, whole, found) in enumerate(zip(ranking.rows["index"], species, means, values, strict=True))
    ]
    write_csv(path, ["rank", "index", "formula", *sites, target, *names], rows)
