"""A second opinion on the best candidates of a run: starts made, relaxed, kept, compared with the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.data.overwriting import Output
from cgcnn.errors import UserError
from cgcnn.graphs.tilts import SYSTEMS, find_system
from cgcnn.models.card import model_files
from screening.candidates.kind import UNTILTED
from screening.chemistry.competing import count_atoms, read_phases
from screening.cluster import choose, preflight
from screening.engine.notice import on_notice
from screening.plan import from_header
from screening.results.outputs import Outputs
from screening.results.ranking import rank
from screening.results.relaxation.calculators import CHGNET, name_calculator
from screening.results.relaxation.files import write_opinions
from screening.results.relaxation.folder import WRITTEN, Folder, name_candidates, usual_place
from screening.results.relaxation.opinion import Agreement, Opinion, compare
from screening.results.relaxation.records import Relaxed, Settings, Task
from screening.results.relaxation.work import relax_all
from screening.results.starts import describe_run, make_starts
from screening.results.tables import ranked_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from screening.candidates.kind import Candidates
    from screening.chemistry.competing import Phases
    from screening.results.ranking import Ranking
    from screening.results.starts import Start
    from screening.store import Run


@dataclass(frozen=True)
class Relaxation:
    """What to relax, how, by whom.

    Attributes:
        out: Directory of the results; None is ``RUN-relaxed`` beside the run.
        outputs: How to rank, and how many candidates: `outputs.shown`.
        calculator: ``chgnet``, or ``module:factory``.
        tilts: Of the starts, see `cgcnn.graphs.tilts`.
        fmax: Largest force that may be left, eV/Å.
        steps: At most so many.
        cluster: Where workers come from, as of a screen.
        workers: How many; None for one a core.
        competing_phases: JSON file of the user's own, see `screening.chemistry.competing`; how far above their hull the
            relaxed crystals are.
    """

    out: Path | None = None
    outputs: Outputs = field(default_factory=Outputs)
    calculator: str = CHGNET
    tilts: tuple[str, ...] = tuple(SYSTEMS)
    fmax: float = 0.05
    steps: int = 500
    cluster: str = "local"
    workers: int | None = None
    competing_phases: Path | None = None

    @property
    def settings(self) -> Settings:
        """How to relax."""
        return Settings(self.calculator, str(Path.cwd()), self.fmax, self.steps)

    def place(self, url: str) -> Path:
        """The directory of the results of a run.

        Raises:
            UserError: The run is no local directory beside which one could be.
        """
        place = self.out or usual_place(url)
        if place is None:
            raise UserError(f"{url}: is no directory of this machine; name one for the results as `out`.")
        return place.absolute()


@dataclass(frozen=True)
class Progress:
    """A relaxation ended.

    Attributes:
        result: What it came to.
        done: How many have ended, those of earlier times included.
        total: How many there are.
    """

    result: Relaxed
    done: int
    total: int


@dataclass(frozen=True)
class SecondOpinion:
    """Candidates relaxed.

    Attributes:
        folder: Where everything is.
        calculator: Its name and version.
        opinions: In order of rank.
        agreements: With the model.
        left: Relaxations that are yet to be done, after a notice of the end; the same again does them.
    """

    folder: Path
    calculator: str
    opinions: tuple[Opinion, ...]
    agreements: tuple[Agreement, ...]
    left: int


def relax_run(run: Run, wanted: Relaxation, progress: Callable[[Progress], None] = lambda _: None) -> SecondOpinion:
    """Relax the best candidates of a run, each from several tilts, and compare with what the model said.

    Results that are there already are not made again; a relaxation that was killed goes on from its last checkpoint.

    Args:
        run: Finished or not.
        wanted: What, how, by whom.
        progress: Called with each end of a relaxation.

    Raises:
        UserError: A setting is wrong, the calculator or workers cannot be had, or results cannot be kept.
    """
    wanted.settings.check()
    for system in wanted.tilts:
        find_system(system)
    calculator, choice = name_calculator(wanted.calculator), choose(wanted.cluster, wanted.workers)
    phases = None if wanted.competing_phases is None else read_phases(wanted.competing_phases)
    place = wanted.place(run.target.url)
    wanted.outputs.spare([*model_files(run.header.model), wanted.competing_phases], [Output("out", place, WRITTEN)])
    ranking, candidates, starts = _starts(run, wanted)
    if phases is not None:
        for start in starts:
            phases.check(count_atoms(start.structure.atomic_numbers))
    tasks = [_task(start) for start in starts]
    folder = Folder(place)
    folder.open(_decisive(run, wanted, calculator))
    results = {task.key: found for task in tasks if (found := folder.load(task))}
    todo = [task for task in tasks if task.key not in results]
    if todo:
        preflight(choice)
        with on_notice() as notice:
            for found in relax_all(todo, wanted.settings, folder, choice, notice):
                results[Task(found.index, found.formula, found.tilts, {}).key] = found
                progress(Progress(found, len(results), len(tasks)))
    opinions = _opinions(ranking, candidates, tasks, results, phases)
    write_opinions(folder.path, opinions, {_task(start).key: start for start in starts}, calculator)
    return SecondOpinion(folder.path, calculator, opinions, tuple(compare(opinions)), len(tasks) - len(results))


def _starts(run: Run, wanted: Relaxation) -> tuple[Ranking, Candidates, list[Start]]:
    plan = wanted.outputs.of(from_header(run.header, run.records))
    outputs, candidates = wanted.outputs, plan.candidates
    outputs.check_order(plan)
    ranking = rank(outputs.blocks(run, plan), outputs.order(plan), outputs.shown, outputs.groups(plan))
    tilts = wanted.tilts if candidates.site_groups else (UNTILTED,)
    return ranking, candidates, list(make_starts(ranking, candidates, describe_run(run, plan), tilts))


def _task(start: Start) -> Task:
    about = start.structure.properties
    return Task(int(about["index"]), str(about["formula"]), str(about.get("tilts", "")), start.structure.as_dict())


def _decisive(run: Run, wanted: Relaxation, calculator: str) -> dict[str, Any]:
    """All that decides what a relaxation comes to."""
    return {
        "run": run.target.url,
        "candidates": name_candidates(run),
        "calculator": calculator,
        "fmax": wanted.fmax,
        "steps": wanted.steps,
    }


def _opinions(
    ranking: Ranking, candidates: Candidates, tasks: Sequence[Task], results: dict[str, Relaxed], phases: Phases | None
) -> tuple[Opinion, ...]:
    texts = candidates.texts(ranking.rows["index"].tolist())
    by_index: dict[int, list[Relaxed]] = {}
    for task in tasks:
        by_index.setdefault(task.index, []).extend([results[task.key]] if task.key in results else [])
    return tuple(
        Opinion(place, {**row, **candidates.name(row, texts.get(index, []))}, tuple(by_index[index]), phases)
        for place, (index, row) in enumerate(ranked_rows(ranking), start=1)
    )
