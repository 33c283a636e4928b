"""Errors that a user can cause and fix."""

from __future__ import annotations


class UserError(Exception):
    """An error with a one-line message for the user: what is wrong, its value, and what to do.

    Messages name settings in backquotes, as a Python user knows them: ``"`sort` beauty: no such column."`` The command
    line shows its option instead: ``--sort beauty: no such column.``
    """


class OddFileError(UserError):
    """What lies under a name is not a regular file, or larger than what is expected there can honestly be."""
