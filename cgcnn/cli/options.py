"""Options, exit codes and one-line errors that the commands `cgcnn` and `screen` share."""

from __future__ import annotations

import atexit
import io
import logging
import os
import re
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cgcnn.errors import UserError
from cgcnn.files import STDOUT, printable, whole_number
from cgcnn.machine import STOPPING, forget_working_folder, limit_hit, stopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

debug = click.option("--debug", is_flag=True, expose_value=False, is_eager=True, help="Show the traceback of an error.")
"""The option --debug of every command; `run` looks for it on the command line."""

WIDE_HELP = {"max_content_width": 120}
"""Context settings that let help use the width of the terminal, up to a readable one."""


def version(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option --version to a command."""
    from cgcnn import __version__

    return click.version_option(__version__, message="%(prog)s %(version)s (perovskite-screening)")(command)


class Group(click.Group):
    """A group whose help lists each command with its whole first sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(10_000)) for name, command in found if command])


def note_skipped(*paths: Path) -> None:
    """Report on stderr which outputs and hidden files among these paths are skipped."""
    from cgcnn.data.read import skipped  # only commands that read crystals

    if text := skipped(paths):
        echo(plain(f"note: {text}"), err=True)


def building(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of commands that build graphs, in the order of their help."""
    options = (
        click.option("--strict", is_flag=True, help="Stop at a crystal that cannot be used."),
        click.option(
            "--workers", type=click.IntRange(min=1), help="Processes that build graphs. [default: one per core]"
        ),
        click.option(
            "--cache",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Graph cache directory. [default: the user cache]",
        ),
        click.option("--no-cache", is_flag=True, help="Neither read nor write the graph cache."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class OutputFile(click.Path):
    """A file to write; ``-`` is standard output."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, allow_dash=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        return STDOUT if value == "-" else super().convert(value, param, ctx)


class OutputName(click.Path):
    """A name under which files are written, or a file that standard output cannot stand for."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == "-":
            self.fail("-: cannot go to standard output; give a name", param, ctx)
        return super().convert(value, param, ctx)


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers above 0, separated by commas."""

    name = "NUMBERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Split the text."""
        parts = value.split(",") if isinstance(value, str) else value
        numbers = {whole_number(str(part).strip()) or 0 for part in parts}
        if min(numbers) < 1:
            self.fail(f"{value}: give whole numbers, such as 500,1000,2000", param, ctx)
        return tuple(sorted(numbers))


def run(command: click.Command, *aliases: str) -> NoReturn:
    """Run a command and exit: 0 done, 1 failed with a one-line message, 2 wrong usage, 130 interrupted.

    With `--debug` among the arguments, errors show their traceback. If the command was called by one of its aliases,
    help and messages use that name.
    """
    called = Path(sys.argv[0]).name
    name = called if called in aliases else command.name or "command"
    _make_streams_whole()
    forget_working_folder()
    # A signal abandons coroutines that wait in Dask, about which Python would warn.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    for number in stopping():  # each stops the command as cleanly as Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        result = command.main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()  # fail here if it could not be written
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        echo(shown.getvalue().rstrip("\n"), err=True, lines=True)  # it quotes arguments, which may be names of files
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail(name, "interrupted.", 130)
    except UserError as error:
        _fail(name, spoken(str(error), command), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails once more
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  # users see a traceback only with --debug
        if limit := limit_hit(error):
            _leave_at_once(name, spoken(limit, command))
        if isinstance(error, OSError):
            _fail(name, _refusal(error), 1)
        _fail(name, f"unexpected {type(error).__name__}: {error}. --debug shows where.", 1)
    atexit.register(_last_words)
    sys.exit(result if isinstance(result, int) else 0)


def spoken(message: str, command: click.Command) -> str:
    """Translate a message of the library for the command line.

    The library names a setting in backquotes, such as `sort`; the command line shows the option --sort instead. Other
    words in backquotes stay as they are.
    """
    options = _options(command)
    return re.sub("`([a-z_]+)`", lambda found: options.get(found[1], found[0]), message)


def _options(command: click.Command) -> dict[str, str]:
    """Return the option of each setting, for a command and its subcommands."""
    found: dict[str, str] = {}
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        found |= _options(inner)
    return found | {p.name: p.opts[0] for p in command.params if isinstance(p, click.Option) and p.name}


def plain(text: str) -> str:
    """Make text safe for a terminal, so that it cannot rewrite the screen, but keep line ends and tabs."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


class _PlainFormatter(logging.Formatter):
    """Log lines as `printable` text, one line each unless they have a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record)) if record.exc_info else printable(super().format(record))


def echo(text: object = "", *, err: bool = False, lines: bool = False) -> None:
    """Print a text so that anything it quotes, such as the name of a file, cannot rewrite the screen.

    Args:
        text: What to print.
        err: Print to stderr instead of stdout.
        lines: Keep line ends; by default the text is one line, and a line end in a name cannot start another.
    """
    click.echo(plain(str(text)) if lines else printable(str(text)), err=err)


def _make_streams_whole() -> None:
    """Make the standard streams accept everything, so that an unreadable message does not cost the results.

    A closed stream, as in cron jobs, becomes /dev/null: otherwise the next file opened would get its number, and with
    it everything written to that stream. A stream in ASCII gets escapes for other characters. If stderr fails, because
    its disk is full or its reader gone, only its messages are lost.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_PlainFormatter())  # warnings may quote foreign names of hosts and files
    warnings.showwarning = lambda message, kind, *_: echo(f"{kind.__name__}: {message}", err=True)
    sys.excepthook = lambda *error: echo("".join(traceback.format_exception(*error)).rstrip(), err=True, lines=True)
    for number in range(3):
        with suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        buffer = io.BufferedWriter(_Unfailing(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(buffer, sys.stderr.encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


class _Unfailing(io.FileIO):
    """A stream that accepts everything; what the system refuses is lost."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as much as the system accepts."""
        size = memoryview(data).nbytes
        with suppress(OSError):
            return super().write(data) or size
        return size


def _leave_at_once(name: str, message: str) -> None:
    """Exit without the interpreter's shutdown, which needs threads and files that are not available."""
    if "--debug" not in sys.argv:
        echo(f"{name}: {_one_line(message)}", err=True)
        sys.stderr.flush()
        os._exit(1)


def _refusal(error: OSError) -> str:
    """Describe in one line what the operating system refused."""
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}. --debug shows where."


def _last_words() -> None:
    """Ignore interrupts from now on: they would only make the interpreter's shutdown print errors."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would log interrupted reads


def _fail(name: str, message: str, code: int) -> NoReturn:
    if "--debug" in sys.argv and sys.exc_info()[1] is not None:
        raise  # noqa: PLE0704  # called from an except clause
    atexit.register(_last_words)  # registered last, it runs first
    echo(f"{name}: {_one_line(message)}", err=True)
    sys.exit(code)


LONGEST = 200
"""Largest number of characters of a word in a message; longer words are shortened to both ends."""


def _one_line(message: str) -> str:
    words = (word if len(word) <= LONGEST else f"{word[:60]}…{word[-60:]}" for word in message.split())
    return plain(" ".join(words))
