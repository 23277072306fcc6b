"""The errors and warnings that a user can cause.

Every message names the parameter, the requirement, the value found and the remedy. The command line prints the message
on stderr without a traceback and exits with code 2.
"""


class VQGenError(Exception):
    """The base of all errors that a user can cause and mend.

    Attributes:
        alike: True if every process of a launch raises the same error. The first process then prints it for all.
    """

    alike = True


class ConfigError(VQGenError):
    """A recipe, an option or an argument that does not meet a requirement."""


class DataError(VQGenError):
    """Images, labels or stored codes that are missing, unreadable or do not meet a requirement."""


class ReadError(DataError):
    """A file that the system could not read now, for a reason that says nothing about its content."""


class CheckpointError(VQGenError):
    """A model, a training state or a pipeline folder that cannot be used."""


class BitstreamError(VQGenError):
    """A compressed file that is damaged or was written by another program or model."""


class ProcessError(VQGenError):
    """A process that worked for this one and crashed: it was killed, or it has a fault."""


class VQGenWarning(UserWarning):
    """A warning of a setting that works but is probably a mistake. The command line prints no other warnings."""


class Interrupted(BaseException):
    """A stop on SIGINT or SIGTERM. It is raised when everything that needs saving has been saved.

    The base is not `Exception`, so that a broad `except` does not swallow it.

    Attributes:
        signal_number: The number of the signal. The exit code is 128 plus this number.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int]]:
        """Returns the parts of a copy: an exception would be copied with its text as the number."""
        return Interrupted, (self.signal_number,)
