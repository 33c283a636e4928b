"""The command `cgcnn`. Heavy imports wait until a command needs them, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path

import click

from cgcnn import command_line
from cgcnn.errors import UserError

PATH = click.Path(path_type=Path)


@click.group(name="cgcnn")
def app() -> None:
    """Train crystal graph convolutional neural networks, and predict with them."""


@app.command()
@click.argument("data", type=PATH)
@click.option("--recipe", metavar="NAME|FILE", help="A training recipe. [default: structures, plain settings]")
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Label to learn; repeat for several.")
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL", help="Where to write the model.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--members", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the first member; the others count on.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted training of the same MODEL.")
@command_line.debug
def train(
    data: Path, recipe: str | None, targets: tuple[str, ...], output: Path, resume: bool, **how: int | None
) -> None:
    """Train a model on DATA: JSON Lines (.jsonl, .jsonl.xz, .jsonl.gz), one labelled crystal a line.

    Progress is kept in MODEL.training until the model is written.
    """
    import shutil

    from cgcnn import train as training
    from cgcnn.data import read_records
    from cgcnn.progress import Reporter
    from cgcnn.recipe import plain_recipe, read_recipe
    from cgcnn.weights import save

    base = read_recipe(recipe) if recipe else plain_recipe(output.stem, data.name, targets)
    chosen = base.with_changes(targets, **how)
    table = training.prepare(read_records(data), chosen)
    checkpoints = output.with_suffix(".training")
    training.claim(checkpoints, table, chosen, resume=resume)
    with Reporter(chosen.fit.members) as report:
        model = training.train(table, chosen, checkpoints, report)
    click.echo(f"{save(model, output)} written", err=True)
    shutil.rmtree(checkpoints)


@app.command()
@click.argument("data", type=PATH)
@click.option("--model", required=True, metavar="NAME|PATH", help="A shipped model or a model file.")
@click.option("--csv", "output", type=PATH, required=True, help="Where to write id,prediction[,std].")
@click.option("--target", metavar="NAME", help="Which of the model's targets. [default: its first]")
@command_line.building
@command_line.debug
def predict(
    data: Path,
    model: str,
    output: Path,
    target: str | None,
    strict: bool,
    workers: int | None,
    cache: Path | None,
    no_cache: bool,
) -> None:
    """Predict the crystals of DATA, in their order; no labels needed.

    DATA is a CIF, POSCAR, extended XYZ, JSON, JSON Lines, CSV with a column `cif`, ASE database, a directory of these
    files, or one with an id_prop.csv. A crystal that cannot be predicted has an empty prediction; the reasons go to
    OUT.failures.csv.
    """
    from cgcnn import predict as predicting
    from cgcnn.building import builder
    from cgcnn.readers import read
    from cgcnn.weights import load

    loaded = load(model)
    names = loaded.settings.targets
    if target is not None and target not in names:
        raise UserError(f"--target {target}: model {loaded.card.name} predicts {', '.join(names)}")
    entries = read(data)
    with builder(loaded.settings, workers, cache, no_cache=no_cache) as build:
        predictions = predicting.predict_entries(loaded, entries, build)
    ids = [entry.id for entry in entries]
    failed = predicting.failures_path(output)
    summary = predicting.summary(ids, predictions.failures)
    if strict and summary:
        raise UserError(summary)
    estimate = predictions.estimates[target or names[0]]
    predicting.write_predictions(output, ids, estimate, spread=len(loaded.members) > 1)
    predicting.write_failures(failed, ids, predictions.failures)
    if len(predictions.failures) == len(entries):
        raise UserError(f"{summary}; nothing could be predicted")
    if summary:
        click.echo(f"{summary}; all reasons: {failed}", err=True)


@app.command("import")
@click.argument("checkpoint", type=PATH)
@click.option("--atom-init", type=PATH, required=True, help="The atom_init.json that it was trained with.")
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL", help="Where to write the model.")
@command_line.debug
def import_(checkpoint: Path, atom_init: Path, output: Path) -> None:
    """Turn CHECKPOINT, a .pth.tar of the published code (txie-93/cgcnn), into a model that predicts the same."""
    from cgcnn.importing import import_model, read_atom_init, read_checkpoint
    from cgcnn.weights import save

    model = import_model(read_checkpoint(checkpoint), read_atom_init(atom_init), output.stem)
    click.echo(f"{save(model, output)} written", err=True)


@app.command()
@click.argument("model")
@command_line.debug
def card(model: str) -> None:
    """Show what MODEL (a shipped name or a path) predicts, from what, and how well."""
    from cgcnn.card import read_card
    from cgcnn.show import show_card

    show_card(read_card(model))


def main() -> None:
    """Run the command line; see `cgcnn.command_line.run` for the exit codes."""
    command_line.run(app)
