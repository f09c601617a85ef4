"""Everything that can go wrong, as types. Each message is one line that names the file and the remedy."""


class UpscaleError(Exception):
    """Base of every error that a user can cause or cure."""


class PictureError(UpscaleError):
    """A picture cannot be read, or is of a kind that is not supported."""


class VideoError(UpscaleError):
    """A video cannot be read, or is of a kind that is not supported."""


class OutputError(UpscaleError):
    """A result cannot be written."""


class ModelError(UpscaleError):
    """A checkpoint cannot be used: unreadable, of an unknown architecture, or incompatible."""


class WeightsMissingError(ModelError):
    """A model is known, but its weights are not on this machine."""


class ChecksumError(ModelError):
    """A file's sha256 differs from the pinned one."""


class DownloadError(ModelError):
    """A download failed; what has arrived is kept for the next try."""


class EngineError(UpscaleError):
    """The engine, device or precision asked for does not exist here."""


class OutOfMemoryError(UpscaleError):
    """An engine ran out of its device's memory; a smaller plan may fit."""


class NotFiniteError(UpscaleError):
    """A network returned NaN or infinity."""
