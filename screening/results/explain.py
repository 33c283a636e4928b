"""What each site contributes: maps of a model, and the best candidates of a run site by site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgcnn.data.overwriting import Output, refuse_overwriting
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.inference.explain import MAPS, check_explains, explain, predictions, site_contributions
from cgcnn.models.card import model_files, weights_path
from cgcnn.models.files import load
from screening.plan import plan_of
from screening.recipe import SHOWN
from screening.results.outputs import Outputs, rank_run
from screening.store import Run, exists

if TYPE_CHECKING:
    from pathlib import Path

    from cgcnn.models.model import Model, PrototypeModel
    from screening.plan import Plan
    from screening.results.table import Table


CANDIDATES = "candidates.csv"


def explain_any(what: str, folder: Path, model: str | None, top: int | None) -> list[Path]:
    """Explain a model; or the model of a run (or another one, by name or path), and the run's best candidates.

    Returns:
        The files written.

    Raises:
        UserError: There is neither such a model nor such a run, the model does not pool linearly or does not fit the
            run, or a file cannot be written.
    """
    if not exists(what):
        path = _model_path(what)
        refuse_overwriting(model_files(path), [Output("output", folder, MAPS)])
        return explain(load(path), folder)
    with Run.open(what) as run:
        plan = plan_of(what)
        written = Output("output", folder, (*MAPS, CANDIDATES))
        refuse_overwriting(model_files(model or plan.model.path), [written])
        chosen = load(model or plan.model.path)
        _check(chosen, run, plan, named=model is not None)
        best = rank_run(run, Outputs(), top or SHOWN)
    table = folder / CANDIDATES
    files = [*explain(chosen, folder), table]
    _write_candidates(table, best, chosen.on(run.header.space["prototype"]))
    return files


def _model_path(what: str) -> Path:
    try:
        return weights_path(what)
    except UserError:
        raise UserError(f"{what}: neither a run nor a model. `screen models` lists the shipped models.") from None


def _check(model: Model, run: Run, plan: Plan, *, named: bool) -> None:
    if not named and model.digest != plan.model.digest:
        raise UserError(f"{plan.model.path}: not the model that made {run.target.url} any more. Name a `model`.")
    check_explains(model.card)
    if reason := plan.candidates.unfit(model.card):
        raise UserError(f"`model` {model.card.name}: {reason}.")


def _write_candidates(path: Path, table: Table, model: PrototypeModel) -> None:
    """Write ``rank,index,formula``, the element on each site, the prediction and what each site contributes to it."""
    target, sites = model.settings.targets[0], model.prototype.sites
    species = model.prototype.canonical(table.species)
    values = site_contributions(model, species)[target]  # (n, n_sites)
    means = predictions(model.prototype, values)  # (n,)
    names = [f"{site}_contribution" for site in sites]
    rows = [
        [row["rank"], row["index"], row["formula"], *(SYMBOLS[z] for z in on), *(f"{x:.5f}" for x in (whole, *found))]
        for row, on, whole, found in zip(table.rows(), species, means, values, strict=True)
    ]
    write_csv(path, ["rank", "index", "formula", *sites, target, *names], rows)
