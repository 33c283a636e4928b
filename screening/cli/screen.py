"""What the commands that screen and rank do and say: notes and the ledger to stderr, the best candidates to stdout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.cli.options import echo, note_skipped, plain
from cgcnn.files import STDOUT
from cgcnn.models.card import model_files, read_card
from cgcnn.network.choice import note_slowness
from screening.campaign import run_campaign, url_of
from screening.candidates.kind import RULE
from screening.candidates.space import radioactive_members, symbols
from screening.chemistry.filters import KINDS, parse_filter
from screening.cli.progress import Listener
from screening.cli.terminal import Look, print_ranking
from screening.engine.cascade import ranked_by
from screening.engine.share import parse_share
from screening.plan import Plan, make_plan
from screening.ranking.known import GIVEN
from screening.ranking.outputs import Outputs, asked_of, written_run
from screening.ranking.results import Presented, dry_ledger, make_ledger, present
from screening.ranking.user_hull import BOUND, COMPETING, DOUBTFUL
from screening.recipe import SHOWN
from screening.status import Status
from screening.store import StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screening.campaign import Campaign
    from screening.candidates.cascade import Measured
    from screening.export import Export
    from screening.ranking.table import Ranking
    from screening.recipe import Recipe

MOST_NAMED = 3
"""Of others who are at work on a run."""
AGAIN = 75
"""Exit code of a screen that stopped on a notice and has more to do (EX_TEMPFAIL of sysexits.h)."""


def screen(  # noqa: PLR0913  # the flags of a command
    recipe: Recipe, look: Look, *, resume: bool, dry_run: bool, accept_versions: bool, source: Path | None = None
) -> int:
    """Screen what a recipe says, and write and print its ranking; the exit code.

    Args:
        recipe: What to screen.
        look: How to show the ranking.
        resume: Go on with the run that is there.
        dry_run: Only count.
        accept_versions: Go on with it also where packages have other versions now.
        source: The file of the recipe, if it is one.

    Raises:
        UserError: The recipe cannot be planned, or its outputs cannot be written; nothing is half-written then.
    """
    outputs = _spoken(asked_of(recipe))
    outputs.spare([source, *recipe.inputs], written_run(url_of(recipe)))
    outputs.check(fresh=not resume and not dry_run)
    parse_share(recipe.share)  # a wrong one is told before anything is read
    plan = make_plan(recipe)
    outputs.check_order(outputs.of(plan))
    outputs.groups(outputs.of(plan))
    if plan.unplaced:
        without = ", ".join(plan.unplaced)
        echo(f"note: no site suits {without}; --a, --b and --x place them all the same.", err=True)
    if left_out := radioactive_members(recipe.elements, recipe.a, recipe.b, recipe.x):
        echo(
            f"note: radioactive {', '.join(symbols(left_out))} left out of groups; name them to include them.", err=True
        )
    if recipe.kind == "structures":
        note_skipped(*recipe.paths)
    if dry_run:
        _name_model(plan, default=recipe.model is None)
        echo(dry_ledger(plan), lines=True)
        if recipe.cascade:
            ranked_by(recipe.sort)
            echo("note: a dry run fits no student; most of the ok ones will be set aside by the cascade.", err=True)
        return 0
    with Listener(lambda: _name_model(plan, default=recipe.model is None)) as listener:
        campaign = run_campaign(recipe, plan=plan, resume=resume, accept_versions=accept_versions, progress=listener)
    if not campaign.complete and (campaign.done or not campaign.others):
        echo(_tell_left(campaign), err=True)
    if not campaign.done:
        return AGAIN
    with StoredRun.open(campaign.url) as run:
        echo(make_ledger(run.ledger(), plan.filters, plan.candidates.count), err=True, lines=True)
        if not campaign.complete:
            return 0
        _tell(present(run, outputs), outputs, look)
    return 0


def _tell_left(campaign: Campaign) -> str:
    """Say what is left of a run, who does it, and what to do if nobody does."""
    left = f"{campaign.blocks - campaign.committed} of {campaign.blocks} blocks are left"
    if not campaign.others:
        return f"{left}, and nobody is at work on them; the same command with --resume does them."
    names = "; ".join(campaign.others[:MOST_NAMED])
    others = f" and {more} others" if (more := len(campaign.others) - MOST_NAMED) > 0 else ""
    return f"{left}, which are others' to do: {names}{others}. `screen status` says whether they still are."


def rank_run(url: str, outputs: Outputs, look: Look, export: Export | None = None) -> None:
    """Rank the committed candidates of a run again; print the best.

    Raises:
        UserError: There is no run, it is damaged, or an output cannot be written.
    """
    outputs = _spoken(outputs)
    exported = [] if export is None else [export.output]
    outputs.spare([], exported)
    outputs.check()
    if export:
        export.check()
    with StoredRun.open(url) as run:
        outputs.spare(model_files(run.header.model), exported)
        tell_partial(run)
        if export:
            _tell_export(run, outputs, export)
        _tell_filters(run, outputs)
        _tell(present(run, outputs), outputs, look)


def _tell_filters(run: StoredRun, outputs: Outputs) -> None:
    """Say which filters a ranking goes by, and how many candidates no ranking can bring back."""
    names = run.header.filters
    kept = [name for name in names if not (outputs.no_filter and KINDS[parse_filter(name).name].predicted)]
    parts = [("of the run", kept), ("of this ranking", [str(parse_filter(text)) for text in outputs.filters])]
    if told := "; ".join(f"{', '.join(chosen)} ({whose})" for whose, chosen in parts if chosen):
        echo(f"filters {told}", err=True)
    if not outputs.no_filter:
        return
    codes = (Status.FILTERED + k for k, name in enumerate(names) if not KINDS[parse_filter(name).name].predicted)
    ledger = run.ledger()
    if count := sum(ledger.get(code, 0) for code in codes):
        echo(
            f"note: {count:,} candidates were left out before they were predicted; a screen with --no-filter has them.",
            err=True,
        )


def _tell_export(run: StoredRun, outputs: Outputs, export: Export) -> None:
    from screening.export import export_run

    count = export_run(run, outputs, export)
    what = "rows" if export.kind == "parquet" else "structures"
    echo(f"{export.path}: {count:,} {what} written ({export.kind})", err=True)


def tell_partial(run: StoredRun) -> None:
    """Say of an unfinished run that what is made of it is partial."""
    done, blocks = run.n_committed, run.header.n_blocks
    if done < blocks:
        echo(f"{plain(run.target.url)}: {done:,} of {blocks:,} blocks: partial.", err=True)


def _name_model(plan: Plan, *, default: bool) -> None:
    """Say which model it is, why, and of which hull it speaks; also if predictions will be slow."""
    why = f" (by default {RULE}; --model names another)" if default else ""
    card = read_card(plan.model.path)
    zero = "an energy of 0 is stable against all phases of this hull, below 0 against them by so much"
    echo(f"model {plan.model.name}{why}, hull: {card.hull}; {zero}", err=True)
    if slow := note_slowness(card.settings, candidates=card.input == "prototype"):
        echo(f"note: {slow}", err=True)
    if chosen := ", ".join(map(str, plan.filters)):
        why = "`screen filters` explains; --filter adds, --no-filter leaves out all but those of --filter"
        echo(f"filters {chosen} ({why})", err=True)


def _spoken(outputs: Outputs) -> Outputs:
    """Read what the command line asks for: there `-` is stdout."""
    return replace(outputs, csv=STDOUT) if outputs.csv == Path("-") else outputs


def _tell(made: Presented, outputs: Outputs, look: Look) -> None:
    if failed := made.failures:
        where = f"; {failed.file} has all reasons" if failed.file else ""
        echo(f"{failed.count:,} failed, the first is {failed.first}: {failed.reason}{where}", err=True)
    if outputs.csv != STDOUT:
        count = min(outputs.shown, SHOWN) if look.format == "table" else outputs.shown
        print_ranking(made.table, count, look)
        if count < len(made.table):
            others = "" if outputs.csv else "; --csv FILE writes all"
            echo(f"the best {count} of {len(made.table):,}{others}", err=True)
    if doubted := _doubted(made.table, outputs.shown):
        echo(doubted, err=True)
    for note in _of_known(outputs):
        echo(note, err=True)
    if outputs.phases is not None:
        what = "the hull of all others in" if outputs.exclude_self else "the hull of"
        echo(plain(f"e_above_user_hull: predicted formation energy above {what} {outputs.phases.source}"), err=True)
        for note in made.table.notes:
            echo(f"warning: {note}.", err=True)
    _warn(made.table)
    if cascade := made.table.plan.cascade:
        _tell_cascade(cascade.measured, made.table, outputs.ranked_by(made.table.plan))


def _doubted(table: Ranking, count: int) -> str:
    """Say which of the first rows competing phases contradict; empty if none."""
    if BOUND not in table.names:
        return ""
    rows = [row for row in table.rows(count) if row[BOUND] > DOUBTFUL]
    if not rows:
        return ""
    first = rows[0]
    return (
        f"note: known competing phases put {len(rows):,} of the first {min(count, len(table)):,} at least {DOUBTFUL} "
        f"eV/atom above the hull (flag hull), {first['formula']} at least {first[BOUND]:.2f}: {first[COMPETING]}."
    )


def _of_known(outputs: Outputs) -> Iterator[str]:
    """Say what there is to say of what the user has."""
    if outputs.had is None:
        return
    yield from (f"note: {note}." for note in outputs.had.notes)
    if count := len(outputs.had.energies):
        said = f"`known` {outputs.known}: energies above hull of {count:,} compounds"
        if outputs.prefer_known:
            yield f"{said} are ranked by in place of the model's; they must be of the same hull."
        else:
            yield f"note: {said} are shown ({GIVEN}), not ranked by; --prefer-known does that."
    elif outputs.had.other_energies:
        yield f"note: `known` {outputs.known}: {outputs.had.other_energies} is not used; e_above_hull would be."


def _tell_cascade(measured: Measured, table: Ranking, sort: str) -> None:
    """Say what the ranking of a run with a cascade lacks."""
    echo(str(measured), err=True)
    if not measured.covers(sort):
        echo(
            f"warning: this ranking by {sort} lacks what the cascade by {measured.by} has set aside, its best perhaps "
            "too; another run without --cascade has all.",
            err=True,
        )
    elif beyond := measured.beyond(table.arrays(measured.by, "in_domain")):
        echo(
            f"warning: {beyond:,} rows of the ranking are beyond {measured.cut:.4f}; candidates as good as these may "
            "have been set aside.",
            err=True,
        )


def _warn(table: Ranking) -> None:
    ranking, model = table.counts, table.plan.model.name
    if ranking.out_of_domain:
        sites = table.plan.candidates.site_groups
        never = "never saw on this site, or at all" if sites else "never saw, or are unlike all that it saw"
        echo(
            f"warning: {ranking.out_of_domain:,} of {ranking.ranked:,} ranked candidates have an element that "
            f"{model} {never}; they rank after the others (in_domain false).",
            err=True,
        )
    if ranking.new_anions:
        echo(
            f"warning: {ranking.new_anions:,} of {ranking.ranked:,} ranked candidates have elements on X that "
            f"{model} never saw together (domain_distance above 0): expect errors larger than "
            "e_above_hull_std says, or leave them out with --filter distance.",
            err=True,
        )
