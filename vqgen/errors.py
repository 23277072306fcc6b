"""What a user can cause. Every message says parameter, requirement, value found and remedy.

The command line turns these into a few plain lines on stderr and exit code 2, without a traceback.
"""


class VQGenError(Exception):
    """Base of all errors that a user can cause and mend.

    Attributes:
        alike: All processes of a launch raise it alike, so that one may speak for all.
    """

    alike = True


class ConfigError(VQGenError):
    """A recipe, an option or an argument is not what it has to be."""


class DataError(VQGenError):
    """Images, labels or stored codes are missing, unreadable or not what they have to be."""


class CheckpointError(VQGenError):
    """A model, a training state or a pipeline folder cannot be used."""


class BitstreamError(VQGenError):
    """A compressed file is damaged or was made by something else."""


class VQGenWarning(UserWarning):
    """Something that will work but is probably not meant. The command line prints these, and no other warnings."""


class Interrupted(BaseException):
    """A signal asked the program to stop; whatever had to be saved has been saved.

    Attributes:
        signal_number: The signal received; the exit code is 128 plus this number.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
