"""User-facing errors. Each says what was expected, what was found, where, and what to do next.

The command line prints them in one line and exits with their `code`.
"""


class MmaggaError(Exception):
    """An error that the user can correct; printed without a traceback."""

    code = 2


class SettingError(MmaggaError, ValueError):
    """An invalid setting, such as clips of no frames."""


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
    """A run stopped on request; it saved its state and can be continued."""

    code = 75
