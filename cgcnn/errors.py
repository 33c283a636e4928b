"""Errors that a user can cause and mend."""


class UserError(Exception):
    """One clear line for the user: what is wrong, with the value, and what to do."""
