"""What can go wrong in training, as types. Each message is one line that names the file or setting and the remedy."""

from upscale.errors import UpscaleError


class TrainingError(UpscaleError):
    """Base of every training error that a user can cause or cure."""


class DataError(TrainingError):
    """The pictures to learn from are missing, unreadable, too small or too few."""


class RecipeError(TrainingError):
    """A recipe or its options contradict themselves."""


class BackboneMissingError(TrainingError):
    """The weights of a perceptual backbone, or of a metric, are not on this machine."""


class RunError(TrainingError):
    """A run's folder cannot be used: taken, damaged, or begun with another recipe."""


class StoppedError(TrainingError):
    """The guard ended the run; the message says why."""
