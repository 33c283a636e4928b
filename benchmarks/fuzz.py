"""Broken, odd, hostile and merely unusual inputs to both commands: none may end in a traceback, hang, or be misread.

    python benchmarks/fuzz.py [--seed 0] [--count 3200] [--kind "CIF, wrong"] [--each 3]

Each input goes through the command's own `main`, in a process that serves many of them; one that does not answer in
20 s counts as a hang. Where it is known what an input says, a success must say that: the crystal that is predicted, the
candidates of a list, the compounds that are marked, the distance from a hull, the ranking of a run. Prints a table;
exit 1 if anything is not as promised. `fuzz_cases.py`, `fuzz_crystals.py`, `fuzz_tables.py` and `fuzz_hostile.py` say
what is tried.
"""

import argparse
import atexit
import contextlib
import csv
import io
import itertools
import multiprocessing
import os
import platform
import re
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import fuzz_cases  # noqa: E402  # after the path
import fuzz_crystals  # noqa: E402
import fuzz_hostile  # noqa: E402
import fuzz_tables  # noqa: E402
from fuzz_cases import Case, Rng  # noqa: E402

PATIENCE = 20.0
"""Seconds after which a command counts as hung."""
MEMORY = 2 * 2**30
"""Bytes that a command may have in memory beyond those at its start: none of these inputs needs half as many."""
LIMIT = 24 * 2**30
"""Bytes of address space of the process that serves."""
TOLERANCE = 0.01
"""Between numbers of readings, eV/atom."""
PROBLEMS = (
    *("hang", "memory", "traceback", "unexpected", "warning of Python", "escape", "no word", "exit code"),
    *("accepted", "misread", "refused needlessly"),
)
BASES = {
    "run": ("R.zarr", ("--a", "Sr,Ba,La", "--b", "Ti,Zr,Al", "--x", "O", "--model", "castelli")),
    "hull": ("H.zarr", ("--a", "Sr", "--b", "Ti", "--x", "O", "--model", "mp")),
}
"""Runs that cases start from: name, and what is screened."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Answer:
    """What a command did.

    Attributes:
        code: Its exit code.
        said: What it printed, to either stream.
        failed: How many rows failed; -1 if that is not known, but some did.
        seconds: That it took.
        grown: Bytes of memory that it took at most.
        reading: What was read of it, see `reading`; None if nothing was to be read, or it was refused.
    """

    code: int
    said: str
    failed: int = 0
    seconds: float = 0.0
    grown: int = 0
    reading: tuple[str, ...] | None = None

    def verdict(self, case: Case, wanted: tuple[str, ...] | None = None) -> str:
        """What is wrong with it, one of `PROBLEMS`; empty if nothing.

        Args:
            case: That it answers.
            wanted: What the reading of a success must be; None if nobody knows.
        """
        warned = case.warned and re.search("^(warning|note): ", self.said, re.MULTILINE) is not None
        success = self.code == 0 and not warned
        wrongs = {
            "hang": self.seconds > PATIENCE,
            "memory": self.grown > MEMORY,
            "traceback": "Traceback (most recent call last)" in self.said,
            "unexpected": re.search(r"^(screen|cgcnn): unexpected \w+", self.said, re.MULTILINE) is not None,
            "warning of Python": re.search(r"^\S+:\d+: \w*Warning: ", self.said, re.MULTILINE) is not None,
            "escape": CONTROL.search(self.said) is not None,
            "exit code": self.code not in {0, 1, 2},
            "no word": self.code == 1 and not self.said.strip(),
            "accepted": case.refused and success and not self.failed,
            "misread": self.code == 0 and wanted is not None and not self._agrees(case, wanted),
            "refused needlessly": case.needed and self.code != 0,
        }
        return next((what for what, holds in wrongs.items() if holds), "")

    def _agrees(self, case: Case, wanted: tuple[str, ...]) -> bool:
        """Whether the reading is the one that is wanted; of what is told to be left out, some may be missing."""
        told = re.search("^note: .* cannot be read", self.said, re.MULTILINE) is not None and self.reading is not None
        if case.reads == "known" and told and not case.needed:
            return not Counter(self.reading) - Counter(wanted)
        return agrees(self.reading, wanted, exactly=case.needed)


def agrees(found: tuple[str, ...] | None, wanted: tuple[str, ...], *, exactly: bool) -> bool:
    """Whether a reading is the one that is wanted; numbers may differ by `TOLERANCE`.

    Args:
        found: The reading.
        wanted: What it should be.
        exactly: Whether rows that failed, with a reason, are wrong where others were wanted.
    """
    if found is None or len(found) != len(wanted):
        return False
    if not exactly:
        lost = Counter(found) - Counter(wanted)
        if set(lost) <= {"failed"}:
            return True
    return all(_same(one, other) or (one == "failed" and not exactly) for one, other in zip(found, wanted, strict=True))


def _same(one: str, other: str) -> bool:
    with contextlib.suppress(ValueError):
        return abs(float(one) - float(other)) < TOLERANCE
    return one == other


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=3200)
    parser.add_argument("--kind", help="only inputs of this kind")
    parser.add_argument("--each", type=int, help="print at most so many of a kind and a problem")
    options = parser.parse_args()
    start = time.monotonic()
    cases = [case for case in draw(options.seed, options.count) if options.kind in {None, case.kind}]
    answers, verdicts = run(cases)
    shown: Counter[tuple[str, str]] = Counter()
    for case, answer, verdict in zip(cases, answers, verdicts, strict=True):
        shown[case.kind, verdict] += 1
        if verdict and not 0 <= (options.each or 10**9) < shown[case.kind, verdict]:
            print(describe(case, answer, verdict))
    seconds = time.monotonic() - start
    distinct = len({case.key for case in cases})
    print(f"\n{distinct} inputs, seed {options.seed}, {seconds:.0f} s, Python {platform.python_version()}")
    print(table(cases, answers, verdicts))
    sys.exit(1 if any(verdicts) else 0)


def describe(case: Case, answer: Answer, verdict: str) -> str:
    """A line on what is wrong."""
    last, line = answer.said.strip().splitlines()[-1:] or [""], " ".join([case.program, *case.arguments])
    reading = f" read {answer.reading} for {case.reading or 'another'}" if verdict == "misread" else ""
    return repr(f"{verdict}: {case.kind}, {case.what}: {line[:80]}:{reading[:200]} {last[0][-200:]}")[1:-1]


def table(cases: list[Case], answers: list[Answer], verdicts: list[str]) -> str:
    """What became of the inputs, by kind, as Markdown."""
    kinds = list(dict.fromkeys(case.kind for case in cases))
    known = ("taken", "failed rows", "refused", "wrong usage", *PROBLEMS)
    counts: Counter[tuple[str, str]] = Counter()
    for case, answer, verdict in zip(cases, answers, verdicts, strict=True):
        fine = {0: "failed rows" if answer.failed else "taken", 1: "refused", 2: "wrong usage"}
        counts[case.kind, verdict or fine[answer.code]] += 1
    columns = tuple(column for column in known if any(counts[kind, column] for kind in kinds) or column in PROBLEMS[:4])
    lines = [f"| kind | inputs | {' | '.join(columns)} |", "| --- |" + " --: |" * (len(columns) + 1)]
    for kind in kinds:
        inputs = sum(case.kind == kind for case in cases)
        lines.append(f"| {kind} | {inputs} | {' | '.join(str(counts[kind, column]) for column in columns)} |")
    return "\n".join(lines)


def draw(seed: int, count: int, root: Path = ROOT) -> list[Case]:
    """So many distinct cases, or a few more; the same seed draws the same ones.

    Args:
        seed: Of the draw.
        count: How many.
        root: Of the checkout, for recipes, profiles and models.
    """
    rng, shipped = Rng(seed), root / "cgcnn/models/shipped"
    parts: list[tuple[Iterator[Case], float]] = [
        (fuzz_cases.structures(Rng(rng.random())), 0.10),
        (fuzz_cases.lists(Rng(rng.random())), 0.04),
        (fuzz_cases.recipes(Rng(rng.random()), root / "recipes"), 0.05),
        (fuzz_cases.profiles(Rng(rng.random()), root / "cluster"), 0.02),
        (fuzz_cases.models(Rng(rng.random()), shipped), 0.04),
        (fuzz_cases.checkpoints(Rng(rng.random())), 0.02),
        (fuzz_cases.command_lines(Rng(rng.random())), 0.05),
        (fuzz_cases.environments(Rng(rng.random())), 0.01),
        (fuzz_crystals.symmetries(Rng(rng.random())), 0.16),
        (fuzz_crystals.statements(Rng(rng.random())), 0.08),
        (fuzz_tables.lists(Rng(rng.random())), 0.12),
        (fuzz_tables.known(Rng(rng.random())), 0.07),
        (fuzz_tables.entries(Rng(rng.random())), 0.06),
        (fuzz_tables.states(Rng(rng.random())), 0.04),
        (fuzz_tables.labels(Rng(rng.random())), 0.03),
        (fuzz_hostile.runs(Rng(rng.random()), bases() / "R.zarr"), 0.10),
        (fuzz_hostile.cards(Rng(rng.random()), shipped), 0.03),
        (fuzz_hostile.bombs(Rng(rng.random())), 0.002),
    ]
    cases: list[Case] = []
    for source, share in parts:
        found: dict[str, Case] = {}
        for case in itertools.islice(source, 20 * count):  # some sources repeat themselves before long
            found.setdefault(case.key, case)
            if len(found) >= max(1, round(share * count)):
                break
        cases += found.values()
    return cases


@cache
def bases() -> Path:
    """A folder with the runs that cases start from, made once a process and removed at its end."""
    folder = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with contextlib.chdir(folder):
        for name, sites in BASES.values():
            answer = answered(Case("base", name, "screen", ("perovskites", *sites, "--out", name)))
            if answer.code:
                raise RuntimeError(answer.said)
    return Path(folder)


def lay(case: Case, folder: Path, made: Path) -> None:
    """Write the files of a case into a folder, with the runs that it starts from.

    Args:
        case: Whose.
        folder: Where; empty.
        made: What `bases` made.
    """
    if case.base:
        name = BASES[case.base][0]
        shutil.copytree(made / name, folder / name)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
            continue
        path.unlink(missing_ok=True)
        if content == "fifo":
            os.mkfifo(path)
        elif content == "dir":
            path.mkdir()
        elif content.startswith("-> "):
            path.symlink_to(content.removeprefix("-> "))


def run(cases: list[Case]) -> tuple[list[Answer], list[str]]:
    """The answers to cases, in their order, and what is wrong with each; a process that hangs or dies is replaced."""
    answers, verdicts = [], []
    known: dict[str, tuple[str, ...] | None] = {}
    with Servers() as servers:
        for case in cases:
            wanted = case.reading
            if case.like is not None:
                if case.like.key not in known:
                    known[case.like.key] = servers.ask(case.like).reading
                wanted = known[case.like.key]
                if wanted is None:
                    raise RuntimeError(f"{case.like.what}: what others are compared with could not be read")
            answer = servers.ask(case)
            answers.append(answer)
            verdicts.append(answer.verdict(case, wanted))
    return answers, verdicts


class Servers:
    """Processes that answer cases, one at a time."""

    def __enter__(self) -> Self:
        self._server: _Server | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()

    def ask(self, case: Case) -> Answer:
        """The answer to a case."""
        if case.alone:
            alone = _Server()
            answer = alone.ask(case)
            alone.stop()
            return answer
        self._server = self._server or _Server()
        answer = self._server.ask(case)
        if not self._server.process.is_alive():
            self._server = None
        return answer


class _Server:
    """A process that answers one case after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, bases()), daemon=True)
        self.process.start()
        other.close()
        self.connection.recv()  # it has imported what takes long

    def ask(self, case: Case) -> Answer:
        """The answer to a case; one that does not come counts as a hang, and a death as code -1."""
        self.connection.send(case)
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE + 1:
            if self.connection.poll(0.5):
                try:
                    answer: Answer = self.connection.recv()
                except EOFError:
                    break
                return answer
            if not self.process.is_alive():
                break
        seconds = time.monotonic() - started
        dead = not self.process.is_alive()
        self.stop()
        return Answer(-1, "died" if dead else "hung", seconds=0.0 if dead else seconds)

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, made: Path) -> None:
    import cgcnn.cli  # noqa: F401  # in the serving process alone
    import screening.cli  # noqa: F401

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    home = Path.cwd()
    connection.send(None)
    while True:
        try:
            case = connection.recv()
        except EOFError:
            return
        with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
            lay(case, Path(folder), made)
            with contextlib.chdir(folder):
                answer = answered(case)
                connection.send(replace(answer, reading=reading(case, answer)))
        os.chdir(home)


def answered(case: Case) -> Answer:
    """Run a case's command in this process, in the current directory."""
    import cgcnn.cli  # in the serving process alone
    import screening.cli

    os.environ.update(case.environment)
    arguments, sys.argv = sys.argv, [case.program, *case.arguments]
    before = _resident()
    start, code = time.monotonic(), 0
    with _streams() as said:
        try:
            {"cgcnn": cgcnn.cli, "screen": screening.cli}[case.program].main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException as error:  # noqa: BLE001  # `main` lets nothing through; what comes here is a traceback
            print(f"Traceback (most recent call last)\n{type(error).__name__}: {error}", file=sys.stderr)
            code = 1
        finally:
            sys.argv = arguments
    text = said.getvalue()
    return Answer(code, text, _failed(text), time.monotonic() - start, _resident(most=True) - before)


@contextlib.contextmanager
def _streams() -> Iterator[io.StringIO]:
    """What is written to either stream, by its number or by its name, in the order in which it came."""
    said = io.StringIO()
    kept = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        out, err = (
            os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", errors="backslashreplace") for _ in range(2)
        )
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        out.reconfigure(write_through=True)
        err.reconfigure(write_through=True)
        try:
            yield said
        finally:
            for stream in (out, err):
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            said.write(file.read().decode("utf-8", errors="replace"))


def _resident(*, most: bool = False) -> int:
    """Bytes that this process has in memory, or had at most since this was last asked; 0 where nobody says."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found = re.search(rf"Vm{'HWM' if most else 'RSS'}:\s+(\d+) kB", status)
        if not most:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def _failed(said: str) -> int:
    """How many crystals or candidates failed: by the ledger, or a table of failures, or a prediction."""
    for line in said.splitlines():
        words = line.split()
        if words[:1] == ["failed"] and len(words) == 2 and words[1].isdigit():
            return int(words[1])
    if found := re.search(r"^(?:cgcnn: )?(\d+) of \d+ crystals failed", said, re.MULTILINE):
        return int(found[1])
    return -1 if any(Path().glob("*.failures.csv")) else 0


def reading(case: Case, answer: Answer) -> tuple[str, ...] | None:
    """What a command read of its input, in a form to compare; None without success.

    "predictions": of each crystal, or "failed". "list": the formulas of the candidates, sorted, and "failed" for each
    that failed. "known": the formulas that are marked. "hull": the distance of each from the user's hull. "ledger": how
    many were ok. "evaluated": "crystal" for each that was measured, and "failed". "stdout": all that was printed.
    """
    if answer.code or not case.reads:
        return None
    return _READERS[case.reads](answer.said, answer.failed)


def _predictions(said: str, failed: int) -> tuple[str, ...]:  # noqa: ARG001  # as all readers
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        return tuple(row["prediction"] or "failed" for row in csv.DictReader(file))


def _list(said: str, failed: int) -> tuple[str, ...]:  # noqa: ARG001  # as all readers
    import screening  # in the serving process alone

    try:
        found = sorted(screening.score("list", file="l.csv", model="mp")["formula"])
    except screening.UserError:  # not one can be ranked
        found = []
    return (*found, *["failed"] * max(failed, 0))


def _ranked(said: str) -> list[dict[str, str]]:
    lines = said.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("rank,")), len(lines))
    return [row for row in csv.DictReader(lines[first:]) if (row["rank"] or "").isdigit() and row["formula"]]


_READERS = {
    "predictions": _predictions,
    "list": _list,
    "known": lambda said, _: tuple(sorted(row["formula"] for row in _ranked(said) if row.get("known_as"))),
    "hull": lambda said, _: tuple(row.get("e_above_user_hull") or "none" for row in _ranked(said)),
    "ledger": lambda said, _: tuple(re.findall(r"^ +(ok) +(\d+)$", said, re.MULTILINE)[0:1] and [
        "ok " + re.findall(r"^ +ok +(\d+)$", said, re.MULTILINE)[0]
    ]),
    "evaluated": lambda said, failed: (
        *["crystal"] * int(re.findall(r" of (\d+) crystals by ", said)[0]), *["failed"] * max(failed, 0)
    ),
    "stdout": lambda said, _: (said,),
}  # fmt: skip


if __name__ == "__main__":
    main()
