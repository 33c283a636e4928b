"""Broken, odd and hostile inputs to both commands: none may end in a traceback, hang, or be taken for sound.

    python benchmarks/fuzz.py [--seed 0] [--count 1000] [--kind "CIF, wrong"]

Each input goes through the command's own `main`, in a process that serves many of them; one that does not answer in
20 s counts as a hang. Prints a table; exit 1 if anything is not as promised. `fuzz_cases.py` says what is tried.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from fuzz_cases import Case, draw, lay  # noqa: E402  # after the path

PATIENCE = 20.0
"""Seconds after which a command counts as hung."""


@dataclass(frozen=True)
class Answer:
    """What a command did: exit code, what it printed, and whether a row failed."""

    code: int
    said: str
    failed_rows: bool
    seconds: float

    def verdict(self, case: Case) -> str:
        """What is wrong with it; empty if nothing."""
        wrongs = {
            "hang": self.seconds > PATIENCE,
            "traceback": "Traceback (most recent call last)" in self.said,
            "unexpected": "unexpected" in self.said,
            f"exit code {self.code}": self.code not in {0, 1, 2},
            "no word": self.code == 1 and not self.said.strip(),
            "accepted": case.refused and self.code == 0 and not self.failed_rows,
        }
        return next((what for what, holds in wrongs.items() if holds), "")


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--kind", help="only inputs of this kind")
    options = parser.parse_args()
    cases = [case for case in draw(options.seed, options.count, ROOT) if options.kind in {None, case.kind}]
    start = time.monotonic()
    answers = run(cases)
    wrong = [(case, answer) for case, answer in zip(cases, answers, strict=True) if answer.verdict(case)]
    for case, answer in wrong:
        last, line = answer.said.strip().splitlines()[-1:] or [""], " ".join([case.program, *case.arguments])
        print(f"{answer.verdict(case)}: {case.kind}, {case.what}: {line[:80]}: {last[0]}")
    seconds = time.monotonic() - start
    print(f"\n{len(cases)} inputs, seed {options.seed}, {seconds:.0f} s, Python {platform.python_version()}")
    print(table(cases, answers))
    sys.exit(1 if wrong else 0)


def table(cases: list[Case], answers: list[Answer]) -> str:
    """What became of the inputs, by kind, as Markdown."""
    kinds = list(dict.fromkeys(case.kind for case in cases))
    columns = ("taken", "failed rows", "refused", "wrong usage", "traceback", "unexpected", "hang", "accepted")
    counts: Counter[tuple[str, str]] = Counter()
    for case, answer in zip(cases, answers, strict=True):
        fine = {0: "failed rows" if answer.failed_rows else "taken", 1: "refused", 2: "wrong usage"}
        counts[case.kind, answer.verdict(case) or fine[answer.code]] += 1
    lines = [f"| kind | inputs | {' | '.join(columns)} |", "| --- |" + " --: |" * (len(columns) + 1)]
    for kind in kinds:
        inputs = sum(case.kind == kind for case in cases)
        lines.append(f"| {kind} | {inputs} | {' | '.join(str(counts[kind, column]) for column in columns)} |")
    return "\n".join(lines)


def run(cases: list[Case]) -> list[Answer]:
    """The answers to cases, in their order; a process that hangs or dies is replaced."""
    answers: list[Answer] = []
    server: _Server | None = None
    for case in cases:
        server = server or _Server()
        serving = _Server() if case.alone else server
        answers.append(serving.ask(case))
        if case.alone:
            serving.stop()
        elif not serving.process.is_alive():
            server = None
    if server is not None:
        server.stop()
    return answers


class _Server:
    """A process that answers one case after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other,), daemon=True)
        self.process.start()
        other.close()

    def ask(self, case: Case) -> Answer:
        """The answer to a case; one that does not come counts as a hang, and a death as code -1."""
        self.connection.send(case)
        started = time.monotonic()
        while time.monotonic() - started < 3 * PATIENCE:  # imports of the first case, and other work on the machine
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
        return Answer(-1, "died" if dead else "hung", failed_rows=False, seconds=0.0 if dead else seconds)

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()


def _serve(connection: Connection) -> None:
    home = Path.cwd()
    while True:
        try:
            case = connection.recv()
        except EOFError:
            return
        with tempfile.TemporaryDirectory() as folder:
            lay(case, Path(folder))
            connection.send(_answer(case))
            os.chdir(home)


def _answer(case: Case) -> Answer:
    """Run a case's command in this process, in the current directory."""
    import cgcnn.cli
    import screening.cli

    os.environ.update(case.environment)
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    arguments, sys.argv = sys.argv, [case.program, *case.arguments]
    start, code = time.monotonic(), 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            {"cgcnn": cgcnn.cli, "screen": screening.cli}[case.program].main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException as error:  # noqa: BLE001  # `main` lets nothing through; what comes here is a traceback
        said.write(f"Traceback (most recent call last)\n{type(error).__name__}: {error}")
        code = 1
    finally:
        sys.argv = arguments
    said.seek(0)
    return Answer(code, said.read(), _failed_rows(said), time.monotonic() - start)


def _failed_rows(said: io.TextIOWrapper) -> bool:
    """Whether some crystal or candidate failed: in a table of failures, an empty prediction, or the ledger."""
    if any(Path().glob("*.failures.csv")):
        return True
    said.seek(0)
    lines = [line.split() for line in said.read().splitlines()]
    return any(line[:1] == ["failed"] and line[1] != "0" for line in lines if len(line) == 2)


if __name__ == "__main__":
    main()
