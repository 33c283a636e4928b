"""Errors that a user can cause and mend."""

from __future__ import annotations


class UserError(Exception):
    """One clear line for the user: what is wrong, with the value, and what to do.

    It names settings in backquotes, as a Python user knows them: ``"`sort` beauty: no such column."`` The command line
    says its option instead: ``--sort beauty: no such column.``
    """
