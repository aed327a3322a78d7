"""What can go wrong for a user, each kind with the exit code the command ends with."""


class GradparityError(Exception):
    """One clear sentence for the user: what was expected, what came, what to do."""

    exit_code = 4


class UsageError(GradparityError, ValueError):
    """The request itself is wrong: an unknown name, sizes that do not fit."""

    exit_code = 2


class MissingError(GradparityError):
    """A framework or data set that was asked for is not here."""

    exit_code = 3


class DataError(GradparityError):
    """A data file is here but truncated, corrupt or not what its name says."""

    exit_code = 4
