"""The command `cgcnn`. Heavy imports wait until a command needs them, so that `--help` answers at once."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from cgcnn.cli import options as command_line
from cgcnn.data.overwriting import Output, of_csv, of_name, refuse_overwriting
from cgcnn.errors import UserError
from cgcnn.files import is_stream, recipes, with_end

TRAINED = (
    *(".safetensors", ".json", "-last.safetensors", "-last.json", ".metrics.json", ".metrics.csv"),
    *(".test.csv", ".history.csv", ".training"),
)
"""Ends of the names of the files and the folder that a training writes, or removes at its end."""

PATH = click.Path(path_type=Path)
OUTPUT, NAME = command_line.OutputFile(), command_line.OutputName()


@click.group(name="cgcnn", cls=command_line.Group, context_settings=command_line.WIDE_HELP)
@command_line.version
def app() -> None:
    """Train crystal graph convolutional neural networks, and predict with them."""


@app.command()
@click.argument("data", type=PATH)
@click.option("--recipe", metavar="NAME|FILE", help="Training recipe. [default: structures, plain settings]")
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Label to learn; repeat for several.")
@click.option("--binary", multiple=True, metavar="NAME", help="Label that is 0 or 1, to learn as a probability.")
@click.option("-o", "--output", type=NAME, required=True, metavar="MODEL", help="Write the model to MODEL.")
@click.option("--split", metavar="A/B/C", help="Shares of training, validation and test rows. [default: 60/20/20]")
@click.option("--sizes", metavar="A/B/C", help="Numbers of training, validation and test rows instead.")
@click.option("--fold-column", metavar="NAME", help="Label with train, validation or test, or with a fold.")
@click.option("--test-fold", metavar="FOLD", help="Test on this fold of --fold-column, and validate on the next.")
@click.option("--folds", type=click.IntRange(min=3), metavar="K", help="Test each of K folds, with a member for each.")
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs. [default: the recipe's]")
@click.option("--patience", type=click.IntRange(min=1), help="Stop after this many epochs without a better validation.")
@click.option("--members", type=click.IntRange(min=1), help="Number of members. [default: the recipe's]")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of the split and the first member; later members use seed+1, …"
)
@click.option("--resume", is_flag=True, help="Resume an interrupted training of the same MODEL.")
@command_line.building
@command_line.debug
def train(
    data: Path,
    recipe: str | None,
    output: Path,
    targets: tuple[str, ...],
    binary: tuple[str, ...],
    epochs: int | None,
    patience: int | None,
    members: int | None,
    seed: int | None,
    resume: bool,
    strict: bool,
    workers: int | None,
    cache: Path | None,
    no_cache: bool,
    split: str | None,
    sizes: str | None,
    fold_column: str | None,
    test_fold: str | None,
    folds: int | None,
) -> None:
    """Train a model on the labelled crystals of DATA, in any format that `predict` reads.

    Writes MODEL (the epochs with the best validation), MODEL-last (the last epochs), MODEL.metrics.json and .csv,
    MODEL.test.csv (test rows with predictions) and MODEL.history.csv. A recipe with validation folds is checked on
    these and then trained on all rows, unless you choose a split. MODEL.training keeps the progress until the model is
    written.
    """
    from cgcnn.training.data import choose_recipe, read_samples
    from cgcnn.training.recipe import read_recipe

    refuse_overwriting([data, recipe and recipes().get(recipe, recipe)], of_name("output", output, TRAINED))
    base = read_recipe(recipe) if recipe else None
    samples = read_samples(data, base)  # before the heavy imports, so that a wrong path fails at once
    if base is None or not base.sources:
        command_line.note_skipped(data)
    from cgcnn.cli.terminal import builder
    from cgcnn.cli.training import prepare_samples, run_training
    from cgcnn.training.data import Division

    how = {"epochs": epochs, "patience": patience, "members": members, "seed": seed}
    chosen = choose_recipe(base, samples, (with_end(output, "").name, data.name), (targets, binary), **how)
    with builder(chosen.settings, workers, cache, no_cache=no_cache) as build:
        prepared = prepare_samples(samples, chosen, build, strict=strict)
    division = Division(split, sizes, fold_column, test_fold, folds)
    run_training(prepared, chosen, division, output, resume=resume)


@app.command()
@click.argument("data", type=PATH)
@click.option("--model", required=True, metavar="NAME|PATH", help="A shipped model or a model file.")
@click.option(
    "--csv",
    "output",
    type=OUTPUT,
    required=True,
    metavar="FILE",
    help="Write id,prediction[,std] to FILE, or - for stdout.",
)
@click.option("--target", metavar="NAME", help="Target of the model. [default: its first]")
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
    """Predict the crystals of DATA in order; labels are not needed.

    DATA is a CIF, POSCAR, extended XYZ, JSON, JSON Lines or CSV file (with a column `cif`), an ASE database, a
    directory of these, or a directory with an id_prop.csv. A crystal that cannot be predicted gets an empty prediction,
    and the reason goes to OUT.failures.csv.
    """
    from cgcnn.data.read import read
    from cgcnn.models.card import model_files, weights_path

    refuse_overwriting([data, *model_files(model)], of_csv("csv", output))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy products are too small for several threads
    path, samples = weights_path(model), read(data)  # before the heavy imports, so that a wrong path fails at once
    command_line.note_skipped(data)
    from cgcnn.cli.terminal import builder
    from cgcnn.files import write_failures
    from cgcnn.inference import predict as predicting
    from cgcnn.models.files import load
    from cgcnn.network.choice import note_slowness

    loaded = load(path)
    names = loaded.settings.targets
    if target is not None and target not in names:
        raise UserError(f"`target` {target}: model {loaded.card.name} predicts {', '.join(names)}")
    if slow := note_slowness(loaded.settings, candidates=loaded.card.input == "prototype"):
        command_line.echo(f"note: {slow}", err=True)
    with builder(loaded.settings, workers, cache, no_cache=no_cache) as build:
        predictions = predicting.predict_samples(loaded, samples, build)
    ids = [sample.id for sample in samples]
    summary = predicting.summary(ids, predictions.failures)
    if strict and summary:
        raise UserError(summary)
    estimate = predictions.estimates[target or names[0]]
    predicting.write_predictions(output, ids, estimate, spread=len(loaded.members) > 1)
    failed = write_failures(
        output, ["id", "reason"], [(ids[i], predictions.failures[i]) for i in sorted(predictions.failures)]
    )
    if len(predictions.failures) == len(samples):
        raise UserError(f"{summary}; nothing could be predicted")
    if summary:
        command_line.echo(summary + (f"; all reasons: {failed}" if failed else ""), err=True)
    if predictions.out_of_domain:
        command_line.echo(
            f"warning: {len(predictions.out_of_domain)} of {len(ids)} crystals have an element that {loaded.card.name} "
            f"was not trained on, first {ids[predictions.out_of_domain[0]]}: do not trust these predictions",
            err=True,
        )


@app.command()
@click.argument("data", type=PATH)
@click.option("--model", required=True, metavar="NAME|PATH", help="A shipped model or a model file.")
@click.option("--target", metavar="NAME", help="Target of the model. [default: its first]")
@click.option("--label", metavar="NAME", help="The label to compare with. [default: the target's name]")
@click.option("--json", "figures", type=OUTPUT, metavar="FILE", help="Write the figures to FILE, or - for stdout.")
@click.option(
    "--csv",
    "output",
    type=OUTPUT,
    metavar="FILE",
    help="Write id,prediction[,std] of the labelled crystals to FILE, or - for stdout.",
)
@click.option("--plot", type=NAME, multiple=True, metavar="FILE", help="Parity or ROC plot (.png, .svg); repeatable.")
@click.option(
    "--only", type=PATH, metavar="CSV", help="Only crystals whose ids are in the first column, as in MODEL.test.csv."
)
@command_line.building
@command_line.debug
def evaluate(
    data: Path,
    model: str,
    target: str | None,
    label: str | None,
    figures: Path | None,
    output: Path | None,
    plot: tuple[Path, ...],
    only: Path | None,
    strict: bool,
    workers: int | None,
    cache: Path | None,
    no_cache: bool,
) -> None:
    """Measure a model on the labelled crystals of DATA, in any format that `predict` reads.

    Shows MAE, RMSE and R2 of a number; accuracy, precision, recall, F1 and AUC of a target that is 0 or 1.
    """
    from cgcnn.data.read import read
    from cgcnn.models.card import model_files, weights_path

    tables = [Output("csv", output)] if output else []
    tables += [Output("json", figures)] if figures else []
    refuse_overwriting([data, only, *model_files(model)], [*tables, *(Output("plot", file) for file in plot)])
    path, samples = weights_path(model), read(data)  # before the heavy imports, so that a wrong path fails at once
    command_line.note_skipped(data)
    from cgcnn.cli.terminal import builder
    from cgcnn.inference import evaluate as evaluating
    from cgcnn.inference.plots import draw
    from cgcnn.inference.predict import summary, write_predictions
    from cgcnn.models.files import load

    loaded, samples = load(path), evaluating.listed_in(only, samples) if only else samples
    with builder(loaded.settings, workers, cache, no_cache=no_cache) as build:
        found = evaluating.evaluate(loaded, samples, target or loaded.settings.targets[0], label, build)
    failed = summary([sample.id for sample in samples], found.failures)
    if failed and strict:
        raise UserError(failed)
    if failed:
        command_line.echo(f"{failed}; measured without them", err=True)
    if figures:
        evaluating.write_figures(figures, found, loaded)
    if output:
        write_predictions(output, found.ids, (found.prediction, found.std), spread=len(loaded.members) > 1)
    for file in plot:
        draw(found, file)
    show = partial(command_line.echo, err=any(path and is_stream(path) for path in (output, figures)))
    show(f"{found.target} of {len(found.ids)} crystals by {loaded.card.name}")
    for name, value in found.figures.items():
        show(f"{name:9s} {value:.4f} {'' if found.binary or name == 'R2' else found.unit}".rstrip())


@app.command("learning-curve")
@click.argument("data", type=PATH)
@click.option(
    "--recipe", "names", multiple=True, required=True, metavar="NAME|FILE", help="Training recipe; repeat to compare."
)
@click.option(
    "--target", "targets", multiple=True, metavar="NAME", help="Label to learn. [default: the recipes' targets]"
)
@click.option("--binary", multiple=True, metavar="NAME", help="Label that is 0 or 1, to learn as a probability.")
@click.option(
    "--sizes",
    type=command_line.Numbers(),
    required=True,
    metavar="A,B,...",
    help="Numbers of training crystals, such as 500,1000,2000.",
)
@click.option("-o", "--output", type=NAME, required=True, metavar="CURVE", help="Write CURVE.csv, .png and .svg.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs at the largest size. [default: the recipes']")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the draw and the networks. [default: the recipes']")
@command_line.building
@command_line.debug
def learning_curve(
    data: Path,
    names: tuple[str, ...],
    targets: tuple[str, ...],
    binary: tuple[str, ...],
    sizes: tuple[int, ...],
    output: Path,
    epochs: int | None,
    seed: int | None,
    strict: bool,
    workers: int | None,
    cache: Path | None,
    no_cache: bool,
) -> None:
    """Train recipes on more and more of the labelled crystals of DATA, and draw the error on the same test crystals.

    The curve shows the first target. A tenth of the crystals are test crystals, and another tenth choose the best
    epoch. CURVE.training keeps the progress until the curve is written; the same command resumes from there.
    """
    from cgcnn.training.data import read_samples
    from cgcnn.training.recipe import read_recipe

    given = [shipped.get(name, name) for name in names for shipped in [recipes()]]
    refuse_overwriting([data, *given], of_name("output", output, (".csv", ".png", ".svg", ".training")))
    chosen = [read_recipe(name).with_changes(targets, binary, epochs=epochs, seed=seed) for name in names]
    plain = {} if all(recipe.sources for recipe in chosen) else {(): read_samples(data, None)}
    samples = [plain[()] if not recipe.sources else read_samples(data, recipe) for recipe in chosen]
    if plain:
        command_line.note_skipped(data)
    from cgcnn.cli.terminal import builder
    from cgcnn.cli.training import prepare_tables, run_learning_curve

    build = partial(builder, workers=workers, cache=cache, no_cache=no_cache)
    run_learning_curve(prepare_tables(zip(samples, chosen, strict=True), build, strict=strict), sizes, output)


@app.command("import")
@click.argument("checkpoint", type=PATH)
@click.option("--atom-init", type=PATH, required=True, help="The atom_init.json of its training.")
@click.option("-o", "--output", type=NAME, required=True, metavar="MODEL", help="Write the model to MODEL.")
@command_line.debug
def import_(checkpoint: Path, atom_init: Path, output: Path) -> None:
    """Turn CHECKPOINT, a .pth.tar of the published code (txie-93/cgcnn), into a model that predicts the same."""
    from cgcnn.models.files import save
    from cgcnn.models.published import import_model, read_atom_init, read_checkpoint

    refuse_overwriting([checkpoint, atom_init], of_name("output", output, (".safetensors", ".json")))
    model = import_model(read_checkpoint(checkpoint), read_atom_init(atom_init), with_end(output, "").name)
    command_line.echo(f"{save(model, output)} written", err=True)


@app.command()
@click.argument("model")
@click.option("--plot", type=NAME, multiple=True, metavar="FILE", help="Reliability diagram (.png, .svg); repeatable.")
@command_line.debug
def card(model: str, plot: tuple[Path, ...]) -> None:
    """Show what MODEL (a shipped name or a path) predicts, from which input, and how well."""
    from cgcnn.cli.terminal import show_card
    from cgcnn.models.card import model_files, read_card

    refuse_overwriting(model_files(model), [Output("plot", file) for file in plot])
    found = read_card(model)
    show_card(found)
    if plot:
        from cgcnn.inference.plots import draw_reliability

        for file in plot:
            draw_reliability(found, file)


@app.command()
@click.argument("model")
@click.option("-o", "--output", type=NAME, required=True, metavar="DIR", help="Write maps and table to DIR.")
@click.option("--target", metavar="NAME", help="Target of the model. [default: its first]")
@command_line.debug
def explain(model: str, output: Path, target: str | None) -> None:
    """Show what each element contributes on each site, by a MODEL of compositions with linear pooling.

    Writes DIR/contributions.csv, and two periodic tables for each kind of site: site-A.png and .svg with the
    contributions, crystals-A.png and .svg with the predictions for whole crystals. Use the shipped castelli-linear.
    """
    from cgcnn.models.card import model_files, weights_path

    path = weights_path(model)  # before the heavy imports, so that a wrong path fails at once
    from cgcnn.inference.explain import MAPS
    from cgcnn.inference.explain import explain as explain_model
    from cgcnn.models.files import load

    refuse_overwriting(model_files(model), [Output("output", output, MAPS)])
    files = explain_model(load(path), output, target)
    command_line.echo(f"{output}: {', '.join(file.name for file in files)} written", err=True)


def main() -> None:
    """Run the command line; see `cgcnn.cli.options.run` for the exit codes."""
    command_line.run(app)
