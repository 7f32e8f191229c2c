"""Errors for people. Each says what was expected, what was found, where, and what to do next.

The command line prints them in one line and exits with their `code`.
"""


class MmaggaError(Exception):
    """Something a user can mend; printed without a traceback."""

    code = 2


class SettingError(MmaggaError, ValueError):
    """A setting that cannot be, such as clips of no frames."""


class DataError(MmaggaError):
    """A data set, frame or split is missing or damaged."""

    code = 3


class CheckpointError(MmaggaError):
    """A checkpoint is damaged or belongs to something else."""

    code = 4


class ResourceError(MmaggaError):
    """Disk or memory ran out."""

    code = 5


class NumericError(MmaggaError):
    """A loss or gradient is not finite."""

    code = 6


class Stopped(MmaggaError):
    """A run was asked to stop; it saved and can go on."""

    code = 75
