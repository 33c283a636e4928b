"""A second opinion on the best candidates of a run: make starts, relax and keep them, compare with the model."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.data.overwriting import Output
from cgcnn.errors import UserError
from cgcnn.graphs.tilts import SYSTEMS, find_system
from cgcnn.models.card import model_files
from screening.candidates.kind import UNTILTED
from screening.chemistry.competing import listed, read_phases
from screening.cluster import Choice, choose, preflight, start
from screening.cluster.flight import Flight, shortened
from screening.cluster.profile import LocalProfile
from screening.cluster.scheduler import DEATHS
from screening.engine.pipeline import on_shutdown_request
from screening.ranking.crystals import make_starts
from screening.ranking.outputs import Outputs, rank_run
from screening.relax.crystal import CHGNET, RelaxationSettings, RelaxationTask, Relaxed, name_calculator, relax
from screening.relax.folder import WRITTEN, Folder, name_candidates, usual_place, write_opinions
from screening.relax.opinion import Agreement, Opinion, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from screening.chemistry.competing import Paths, Phases
    from screening.engine.pipeline import ShutdownRequest
    from screening.ranking.crystals import Start
    from screening.ranking.table import Ranking
    from screening.store import StoredRun


def relax_all(
    tasks: Sequence[RelaxationTask],
    settings: RelaxationSettings,
    folder: Folder,
    choice: Choice,
    notice: ShutdownRequest,
) -> Iterator[Relaxed]:
    """Relax structures and keep the results, which come in order of completion.

    Args:
        tasks: What to relax.
        settings: How to relax.
        folder: Directory of the results; workers must see it.
        choice: Choice of workers.
        notice: Shutdown request, after which it waits for no more results; relaxations in progress have checkpoints.

    Raises:
        UserError: There is no such calculator, workers cannot be started, or a result cannot be written.
    """
    work = partial(relax_and_keep, settings, folder)
    if isinstance(choice.source, LocalProfile) and not choice.inference and min(choice.workers, len(tasks)) == 1:
        for task in tasks:
            if notice:
                return
            yield work(task)
        return
    with start(choice, len(tasks)) as force:
        flight: Flight[RelaxationTask, Relaxed] = Flight(force, _named, "Run the same command again to resume.")
        name = uuid.uuid4()
        for task in tasks:
            flight.submit(task, work, task, key=f"relax-{task.key}-{name}", resources=force.resources)
        while flight.under_way and not notice:
            for task, found in flight.ended():
                yield found or _lost(task, folder)
                if notice:
                    return


def _named(tasks: Iterable[RelaxationTask]) -> str:
    return f"relaxation {shortened(sorted(task.key for task in tasks))}"


def relax_and_keep(settings: RelaxationSettings, folder: Folder, task: RelaxationTask) -> Relaxed:
    """Relax a structure and keep the result. This runs on a worker."""
    found = relax(task, settings, folder.checkpoint_path(task))
    folder.save(task, found)
    return found


def _lost(task: RelaxationTask, folder: Folder) -> Relaxed:
    """Keep a result that says that no worker survived the structure."""
    lost = Relaxed(task.index, task.formula, task.tilts, f"{DEATHS} workers died on it", _volume(task))
    folder.save(task, lost)
    return lost


def _volume(task: RelaxationTask) -> float:
    """Compute the volume of the start, Å³/atom."""
    return float(task.structure["lattice"]["volume"]) / len(task.structure["sites"])


@dataclass(frozen=True)
class Relaxation:
    """What to relax, how, and on which workers.

    Attributes:
        out: Directory of the results; None takes ``RUN-relaxed`` beside the run.
        outputs: How to rank, and how many candidates to relax: `outputs.shown`.
        calculator: ``chgnet``, or ``module:factory``.
        tilts: Tilt systems of the starts, see `cgcnn.graphs.tilts`.
        fmax: Largest force that may be left, eV/Å.
        steps: Largest number of steps.
        cluster: Where workers come from, as for a screen.
        workers: Number of workers; None starts one on each core.
        competing_phases: Files or folders of the user's own competing phases, see `screening.chemistry.entries`; adds
            the distance of the relaxed crystals from their hull.
        exclude_self: Leave a candidate's own composition out of that hull.
    """

    out: Path | None = None
    outputs: Outputs = field(default_factory=Outputs)
    calculator: str = CHGNET
    tilts: tuple[str, ...] = tuple(SYSTEMS)
    fmax: float = 0.05
    steps: int = 500
    cluster: str = "local"
    workers: int | None = None
    competing_phases: Paths | None = None
    exclude_self: bool = False

    @property
    def settings(self) -> RelaxationSettings:
        """How to relax."""
        return RelaxationSettings(self.calculator, str(Path.cwd()), self.fmax, self.steps)

    def place(self, url: str) -> Path:
        """Return the directory of the results of a run.

        Raises:
            UserError: The run is not a local directory, so the results need a directory of their own.
        """
        place = self.out or usual_place(url)
        if place is None:
            raise UserError(f"{url}: not a directory of this machine. Name one for the results as `out`.")
        return place.absolute()


@dataclass(frozen=True)
class RelaxationProgress:
    """A relaxation that just ended.

    Attributes:
        result: Its result.
        done: Number of relaxations that have ended, including those of earlier calls.
        total: Number of relaxations.
    """

    result: Relaxed
    done: int
    total: int


@dataclass(frozen=True)
class SecondOpinion:
    """The relaxed candidates of a run.

    Attributes:
        folder: Directory of the results.
        calculator: Name and version of the calculator.
        opinions: Candidates in order of rank.
        agreements: How well they agree with the model.
        left: Relaxations left after a shutdown request; the same call again does them.
        notes: Warnings about the competing phases.
    """

    folder: Path
    calculator: str
    opinions: tuple[Opinion, ...]
    agreements: tuple[Agreement, ...]
    left: int
    notes: tuple[str, ...] = ()


def relax_run(
    run: StoredRun, wanted: Relaxation, progress: Callable[[RelaxationProgress], None] = lambda _: None
) -> SecondOpinion:
    """Relax the best candidates of a run, each from several tilts, and compare the results with the model.

    Existing results are not computed again; a relaxation that was killed resumes from its last checkpoint.

    Args:
        run: Finished or not.
        wanted: What to relax, how, and on which workers.
        progress: Called whenever a relaxation ends.

    Raises:
        UserError: A setting is wrong, the calculator or workers cannot be started, or results cannot be written.
    """
    wanted.settings.check()
    for system in wanted.tilts:
        find_system(system)
    calculator, choice = name_calculator(wanted.calculator), choose(wanted.cluster, wanted.workers)
    by_dft = wanted.calculator == CHGNET  # other calculators may be toys
    phases = None
    if wanted.competing_phases:
        phases = read_phases(wanted.competing_phases, exclude_self=wanted.exclude_self, by_dft=by_dft)
    place = wanted.place(run.target.url)
    given = [*model_files(run.header.model), *listed(wanted.competing_phases)]
    wanted.outputs.spare(given, [Output("out", place, WRITTEN)])
    table, starts = _starts(run, wanted)
    notes: list[str] = []
    if phases is not None:
        sets = {_task(start).index: tuple(sorted(set(start.structure.atomic_numbers))) for start in starts}
        notes = [*phases.source.notes, *phases.uncovered(Counter(sets.values()))]
        notes += phases.compare_known() if by_dft else []
    tasks = [_task(start) for start in starts]
    folder = Folder(place)
    folder.open(_decisive(run, wanted, calculator))
    results = {task.key: found for task in tasks if (found := folder.load(task))}
    todo = [task for task in tasks if task.key not in results]
    if todo:
        preflight(choice)
        with on_shutdown_request() as notice:
            for found in relax_all(todo, wanted.settings, folder, choice, notice):
                results[RelaxationTask(found.index, found.formula, found.tilts, {}).key] = found
                progress(RelaxationProgress(found, len(results), len(tasks)))
    opinions = _opinions(table, tasks, results, phases)
    write_opinions(folder.path, opinions, {_task(start).key: start for start in starts}, calculator)
    agreements, left = tuple(compare(opinions)), len(tasks) - len(results)
    return SecondOpinion(folder.path, calculator, opinions, agreements, left, tuple(notes))


def _starts(run: StoredRun, wanted: Relaxation) -> tuple[Ranking, list[Start]]:
    table = rank_run(run, wanted.outputs, wanted.outputs.shown)
    tilts = wanted.tilts if table.plan.candidates.site_groups else (UNTILTED,)
    return table, list(make_starts(table, tilts))


def _task(start: Start) -> RelaxationTask:
    about = start.structure.properties
    return RelaxationTask(
        int(about["index"]), str(about["formula"]), str(about.get("tilts", "")), start.structure.as_dict()
    )


def _decisive(run: StoredRun, wanted: Relaxation, calculator: str) -> dict[str, Any]:
    """Collect everything that decides the result of a relaxation."""
    return {
        "run": run.target.url,
        "candidates": name_candidates(run),
        "calculator": calculator,
        "fmax": wanted.fmax,
        "steps": wanted.steps,
    }


def _opinions(
    table: Ranking, tasks: Sequence[RelaxationTask], results: dict[str, Relaxed], phases: Phases | None
) -> tuple[Opinion, ...]:
    by_index: dict[int, list[Relaxed]] = {}
    for task in tasks:
        by_index.setdefault(task.index, []).extend([results[task.key]] if task.key in results else [])
    return tuple(Opinion(row["rank"], row, tuple(by_index[row["index"]]), phases) for row in table.rows())
