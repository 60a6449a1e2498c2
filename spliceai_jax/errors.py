"""The errors a user can cause, and the one kind of warning.

Every message names the file or argument, what was found, what was expected and the way out. The command
line prints it as one line and exits with `exit_status`.
"""


class SpliceAIError(Exception):
    """Something the user can mend; the message says how."""

    exit_status = 2


class SettingsError(SpliceAIError):
    """A flag or setting is out of range or contradicts another."""


class DatasetError(SpliceAIError):
    """An HDF5 data set is missing, damaged, or not what OpenSpliceAI writes."""


class SequenceError(SpliceAIError):
    """A FASTA or GFF3 file is missing, damaged, or not what it should be."""


class WeightsError(SpliceAIError):
    """A weights file is missing, damaged, or fits none of the architectures."""


class RunFolderError(SpliceAIError):
    """The output folder cannot be used: not writable, too full, in use, or it holds another run."""


class ProcessesError(SpliceAIError):
    """The processes of a run did not meet, do not agree, or one was lost."""


class DivergedError(SpliceAIError):
    """The training loss became infinite or not a number."""


class Interrupted(SpliceAIError):  # noqa: N818 - an order from outside, not a fault
    """A signal asked the run to stop; everything needed to go on has been saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        """Keep the shell's convention for processes ended by a signal: status 128 + its number."""
        super().__init__(message)
        self.exit_status = 128 + signal_number


class SpliceAIWarning(UserWarning):
    """Something that does not stop the work but that the user should know; the command line prints a line."""
