"""A campaign: from a recipe to a finished run. It says nothing by itself; who wants to know gets events."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cgcnn.errors import UserError
from screening.cluster import choose, preflight, start
from screening.engine.block import Block
from screening.engine.pipeline import block_rows, on_shutdown_request, screen_blocks, screen_here
from screening.engine.share import Share, parse_share
from screening.plan import Plan, make_plan, plan_of
from screening.recipe import SHOWN
from screening.store import InUseError, Report, RunReference, StoredRun, exists, load_header, lock, repair, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from screening.candidates.cascade import Cascade, Measured
    from screening.candidates.space import Space
    from screening.cluster import Choice
    from screening.engine.pipeline import ShutdownRequest
    from screening.recipe import Recipe
    from screening.store import Header


@dataclass(frozen=True)
class Opened:
    """The run is there, made anew or found, and this campaign has its lock.

    Attributes:
        url: Of the run.
    """

    url: str


@dataclass(frozen=True)
class Distilling:
    """A student is about to be fitted, which takes half a minute or one.

    Attributes:
        model: Name of what it learns from.
    """

    model: str


@dataclass(frozen=True)
class Distilled:
    """A student was fitted, or it was not worthwhile.

    Attributes:
        seconds: Time that it took.
        measured: What is known of it; None without one.
        reason: Why there is none.
    """

    seconds: float
    measured: Measured | None
    reason: str = ""


@dataclass(frozen=True)
class Begun:
    """Blocks of the run are to be done.

    Attributes:
        url: Of the run.
        candidates: In all.
        blocks: Of the run.
        todo: Blocks to be done now.
        workers: Who is to do them, in words.
        stays_on_cpu: There are workers for GPUs, but the run was begun on CPUs and goes on there.
    """

    url: str
    candidates: int
    blocks: int
    todo: int
    workers: str
    stays_on_cpu: bool


@dataclass(frozen=True)
class Advanced:
    """Blocks were committed.

    Attributes:
        done: Blocks that were committed since the campaign began.
        todo: Blocks that it has to do in all.
        candidates: Candidates in the blocks done.
        in_flight: Blocks that are under way.
        at_once: Blocks that are worked on at the same time.
        seconds: Time that a worker took for a block of those that ended last, s.
    """

    done: int
    todo: int
    candidates: int
    in_flight: int
    at_once: int
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """The campaign ends before its work is done.

    Attributes:
        url: Of the run.
        committed: Blocks that are kept.
        blocks: Of the run.
        on_shutdown_request: Whether the batch system asked for it; else somebody interrupted.
    """

    url: str
    committed: int
    blocks: int
    on_shutdown_request: bool


Event = Distilling | Distilled | Opened | Begun | Advanced | Stopped
"""What a campaign tells, in this order; of Advanced many."""


@dataclass(frozen=True)
class Campaign:
    """What a campaign has made.

    Attributes:
        url: Of the run.
        plan: Of the run.
        share: What was to be done first; then came what nobody was at work on.
        done: Whether nothing is left that nobody is at work on; if not, the same with `resume` goes on.
        committed: Blocks of the run that are committed, those of others included.
        blocks: Of the run.
        others: Who else is at work on the run.
    """

    url: str
    plan: Plan
    share: Share
    done: bool
    committed: int
    blocks: int
    others: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the run holds every candidate."""
        return self.committed == self.blocks


def run_campaign(
    recipe: Recipe,
    *,
    plan: Plan | None = None,
    resume: bool = False,
    accept_versions: bool = False,
    progress: Callable[[Event], None] = lambda _: None,
) -> Campaign:
    """Screen what a recipe says.

    Args:
        recipe: What to screen, where and by whom; what to make of the run is left to others.
        plan: Of the recipe, if it is made already.
        resume: Go on with the run that is there.
        accept_versions: Go on with it also where packages that decide the bits have other versions now.
        progress: Is called with each event.

    Raises:
        UserError: The recipe cannot be planned, or the run cannot be made, resumed or written.
    """
    plan = plan or make_plan(recipe)
    share = parse_share(recipe.share)
    choice = choose(recipe.cluster, recipe.workers)
    preflight(choice)
    here = _few(recipe, plan, choice)
    workers = 1 if here else choice.workers * share.count
    if recipe.cascade:
        plan = _with_cascade(recipe, plan, workers, progress, goes_on=resume or share.count > 1)
    header, tried = _header(recipe, plan, workers), set[Share]()
    url, chosen = url_of(recipe), None if here else choice
    with on_shutdown_request() as notice:
        while (own := share.next_of(_undone(url) if tried else (), tried)) is not None and not notice:
            tried.add(own)
            with suppress(InUseError) if share.count > 1 else nullcontext():
                if own != share:
                    opened = StoredRun.resume(url, load_header(url), part=own.part, any_versions=accept_versions)
                else:
                    opened = _open_run(recipe, header, plan, own, resume=resume, any_versions=accept_versions)
                with opened as run:
                    if own == share:
                        progress(Opened(run.target.url))
                    _screen_missing(run, chosen, own, notice, progress)
    with StoredRun.open(url) as run:  # as it is now, with what others did
        others = tuple(map(str, lock.at_work(run.place)))
        left = run.header.n_blocks - run.n_committed
        done = not left or (bool(others) and not notice)
        return Campaign(url, plan, share, done, run.n_committed, run.header.n_blocks, others)


def _undone(url: str) -> list[int]:
    """Return the blocks of a run that are not committed by now, whoever is at work on them."""
    with StoredRun.open(url) as run:
        return list(run.missing_blocks())


def check_run(url: str, *, mend: bool = False) -> Report:
    """Prove that a run holds every candidate exactly once, undamaged, or say what is wrong with it.

    Args:
        url: Of the run.
        mend: Mend what can be mended; resuming then redoes what is lost.

    Raises:
        UserError: There is no run, or (to mend it) it is in use.
    """
    identity = None
    with suppress(UserError):  # no run, or a damaged header: the verification says which
        identity = plan_of(url).candidates.identity
    return (repair if mend else verify)(url, identity)


def _few(recipe: Recipe, plan: Plan, choice: Choice) -> bool:
    """Guess whether this process screens the candidates sooner than workers, which nobody asked for, would start."""
    asked = recipe.workers is not None or recipe.cluster != "local" or parse_share(recipe.share).count > 1
    return not asked and not choice.inference and plan.candidates.count <= plan.candidates.grain.few


def _header(recipe: Recipe, plan: Plan, workers: int) -> Header:
    """Return the header of the run, with blocks that suit all the workers who share it."""
    candidates = plan.candidates
    return plan.header(block_rows(candidates.count, workers, recipe.block_size, candidates.grain))


def _open_run(  # noqa: PLR0913  # the last two say how
    recipe: Recipe, header: Header, plan: Plan, share: Share, *, resume: bool, any_versions: bool
) -> StoredRun:
    """Return the run to fill: a new one, or with `resume` or as a share the one that is there."""
    url, given = url_of(recipe), plan.records
    if (resume or share.count > 1) and exists(url):
        return StoredRun.resume(url, header, part=share.part, records=given, any_versions=any_versions)
    try:
        return StoredRun.create(url, header, part=share.part, records=given)
    except UserError:
        if share.count == 1 or not exists(url):
            raise
        # Another share was quicker, also in fitting its student, which counts.
        theirs = plan if plan.cascade is None else replace(plan, cascade=plan_of(url).cascade)
        return StoredRun.resume(url, _header(recipe, theirs, 1), part=share.part, records=theirs.records)


def _with_cascade(
    recipe: Recipe, plan: Plan, workers: int, progress: Callable[[Event], None], *, goes_on: bool
) -> Plan:
    """Return the plan with the cascade that its run has, or with one that is made now, if it is worthwhile."""
    from screening.engine.cascade import NotWorthwhileError, make_cascade, ranked_by

    by, url = ranked_by(recipe.sort), url_of(recipe)
    if exists(url) and goes_on:
        if (theirs := _cascade_of(url)) is not None:
            if theirs.measured.by != by:
                had = f"the run has a cascade by {theirs.measured.by}, you have one by {by}"
                raise UserError(f"{url}: cannot resume, {had}. Pass another `out`.")
            return replace(plan, cascade=theirs)
    else:
        StoredRun.refuse_existing(url, _header(recipe, plan, workers))
    progress(Distilling(plan.model.name))
    begun = time.monotonic()
    try:
        cascade = make_cascade(cast("Plan[Space]", plan), recipe.sort, recipe.top or SHOWN)
    except NotWorthwhileError as error:
        progress(Distilled(time.monotonic() - begun, None, str(error)))
        return plan
    progress(Distilled(time.monotonic() - begun, cascade.measured))
    return replace(plan, cascade=cascade)


def _cascade_of(url: str) -> Cascade | None:
    """Return the cascade of a run; None if it has none, or it is damaged, and the same must be made again."""
    with suppress(UserError):
        return plan_of(url).cascade
    return None


def url_of(recipe: Recipe) -> str:
    """Return the run that a recipe makes."""
    return recipe.out or f"{recipe.kind}.zarr"


def _screen_missing(
    run: StoredRun, choice: Choice | None, share: Share, notice: ShutdownRequest, progress: Callable[[Event], None]
) -> None:
    """Screen what is not committed yet of a share, until a notice comes.

    Without a choice of workers this process does it.
    """
    todo = sum(1 for number in run.missing_blocks() if number in share)
    if not todo:
        return
    blocks = (Block(number, *run.header.bounds(number)) for number in run.missing_blocks() if number in share)
    stays = run.device == "cpu" and choice is not None and choice.inference > 0
    workers = str(choice or "this process") + (f", {share}" if share.count > 1 else "")
    progress(Begun(run.target.url, run.header.rows, run.header.n_blocks, todo, workers, stays))
    try:
        done = _commit_all(run, choice, blocks, todo, notice, progress)
    except KeyboardInterrupt:
        progress(Stopped(run.target.url, run.n_committed, run.header.n_blocks, on_shutdown_request=False))
        raise
    if not done:
        progress(Stopped(run.target.url, run.n_committed, run.header.n_blocks, on_shutdown_request=True))


def _commit_all(  # noqa: PLR0913, PLR0917  # all of one loop
    run: StoredRun,
    choice: Choice | None,
    blocks: Iterable[Block],
    todo: int,
    notice: ShutdownRequest,
    progress: Callable[[Event], None],
) -> bool:
    """Commit blocks as they end; whether all were."""
    done = candidates = 0
    begun = time.monotonic()
    target = _seen_from_anywhere(run.target)
    with nullcontext() if choice is None else start(choice, todo) as force:
        where = screen_here if force is None else partial(screen_blocks, force)
        for harvest in where(target, blocks, notice, run.device):
            run.commit(*harvest.receipts)
            done += len(harvest.receipts)
            candidates += sum(receipt.rows for receipt in harvest.receipts)
            run.tell(candidates / max(time.monotonic() - begun, 1e-9))
            workers = 1 if force is None else force.finishers
            seconds = sum(receipt.seconds for receipt in harvest.receipts) / len(harvest.receipts)
            progress(Advanced(done, todo, candidates, harvest.in_flight, workers, seconds))
    return done == todo


def _seen_from_anywhere(target: RunReference) -> RunReference:
    """Return the run as workers with another working directory find it."""
    return target if "://" in target.url else replace(target, url=str(Path(target.url).absolute()))
