"""The command `screen` in this process."""

import sys

import pytest

from screening.cli import commands as cli


@pytest.fixture
def screen(monkeypatch, capsys):
    """Run the command in this process; returns its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["screen", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, *capsys.readouterr()

    monkeypatch.setenv("COLUMNS", "200")
    return call
