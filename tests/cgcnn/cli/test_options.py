"""How the commands meet their user: options in messages, streams that are closed or in ASCII, hostile text."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cgcnn.cli.options import plain, spoken

PROGRAM = """
import os
import click
from cgcnn.cli.options import run
from cgcnn.files import STDOUT, write_whole
from cgcnn.errors import UserError

@click.command("tool")
@click.option("--sort")
@click.argument("file", required=False)
def tool(sort, file):
    if sort == "wrong":
        raise UserError("`sort` beauty: no such column. See `tool list`, or leave `sort` out.")
    if sort == "long":
        raise UserError("x" * 5000 + " is \\x1b[31m[red]")
    if sort == "stream":
        write_whole(STDOUT, ["a" * 1000] * 1000)
    if sort and sort.isdigit():
        os.kill(os.getpid(), int(sort))
    if sort == "system":
        open("n" * 3000)
    click.echo("τ ± Å " * 3)
    click.echo("told", err=True)
    if file:
        open(file, "w", encoding="utf-8").write("τ")

run(tool)
"""


def call(tmp_path, arguments="", redirect="", **environment):
    (tmp_path / "tool.py").write_text(PROGRAM)
    line = f"{sys.executable} tool.py {arguments} {redirect}"
    return subprocess.run(
        ["sh", "-c", line],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
    )


@pytest.fixture
def app():
    @click.group()
    def group():
        pass

    @group.command()
    @click.option("--filter", "filters", multiple=True)
    @click.option("-o", "--output")
    def some(**_):
        pass

    return group


def test_settings_in_backquotes_become_options(app):
    message = "`filters` x: none. See `screen filters`, `model` and `output`."
    assert spoken(message, app) == "--filter x: none. See `screen filters`, `model` and -o."


def test_control_characters_are_escaped_and_letters_are_not():
    assert plain("a\x1b[2Jb\x07 τ ±\u202e\n") == "a\\x1b[2Jb\\x07 τ ±\\u202e\n"


@pytest.mark.slow
def test_errors_are_one_line_with_the_option_and_no_escape_sequences(tmp_path):
    wrong = call(tmp_path, "--sort wrong")
    assert wrong.stderr == "tool: --sort beauty: no such column. See `tool list`, or leave --sort out.\n"
    long = call(tmp_path, "--sort long").stderr
    assert len(long) < 300
    assert "\x1b" not in long
    assert "\\x1b[31m[red]" in long
    system = call(tmp_path, "--sort system")
    assert system.returncode == 1
    assert "File name too long" in system.stderr
    assert "unexpected" not in system.stderr


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_results_are_written_though_streams_are_closed(tmp_path, redirect):
    done = call(tmp_path, "result", redirect)
    assert (done.returncode, (tmp_path / "result").read_text()) == (0, "τ"), done.stderr


@pytest.mark.slow
def test_stdout_in_ascii_is_no_error(tmp_path):
    done = call(tmp_path, "result", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "told\n")
    assert (tmp_path / "result").read_text(encoding="utf-8") == "τ"


@pytest.mark.slow
@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>/dev/full >/dev/null", "3>&2 2>&1 >/dev/null | true"])
def test_results_are_written_though_nobody_can_be_told(tmp_path, redirect):
    call(tmp_path, "result", redirect)  # in a pipe, the copy 3 of stderr stays open until the command has ended
    assert (tmp_path / "result").read_text() == "τ"


@pytest.mark.slow
def test_a_reader_who_has_had_enough_is_no_error(tmp_path):
    done = call(tmp_path, "--sort stream", "| head -c 1")
    assert (done.stdout, done.stderr) == ("a", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("ignored", [True, False])
def test_signals_end_a_command_in_order_unless_they_are_ignored(tmp_path, number, ignored):
    before = signal.signal(number, signal.SIG_IGN) if ignored else None
    try:
        done = call(tmp_path, f"--sort {number.value} result")
    finally:
        if ignored:
            signal.signal(number, before)
    assert (tmp_path / "result").exists() == ignored
    assert (done.returncode, "interrupted." in done.stderr) == ((0, False) if ignored else (130, True))


@pytest.mark.slow
def test_a_full_stdout_is_one_clear_line(tmp_path):
    done = call(tmp_path, "", ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "tool: No space left on device. --debug shows where."
