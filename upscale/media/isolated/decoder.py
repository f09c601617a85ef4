"""Files opened in a process of their own (worker.py), so that one that crashes a decoder is one failed file.

Small pictures and short animations are read whole at once, and the process is free for the next file. A large one keeps
its process, which sends rows as they are asked for.
"""

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from upscale.errors import PictureError
from upscale.media import Source
from upscale.media.isolated.child import COMMAND, Child
from upscale.media.isolated.remote import Held, Policy, Streamed, images_of, living, open_in
from upscale.media.isolated.wire import Opened

EAGER_BYTES = 64 << 20
"""Pictures of so many bytes, all frames together, are read whole when they are opened."""


class Decoder:
    """Opens files in a process that is kept for the next file, and replaced when it dies.

    For one thread at a time; the sources may be read in another, also after the decoder is closed.
    """

    def __init__(
        self,
        max_pixels: int | None = None,
        seconds: float = 60.0,
        memory: int | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """See `Policy`."""
        self._policy = Policy(max_pixels, seconds, memory, command)
        self._child: Child | None = None

    def start(self) -> None:
        """Starts the process without waiting for it, so that it loads its libraries while we load ours."""
        if self._child is None:
            with contextlib.suppress(OSError):  # told when a file is opened
                self._child = Child(self._policy.command)

    def open(self, path: Path) -> Source:
        """Opens a picture or an animation. Raises PictureError, also for whatever befalls the process."""
        with self._conversation(path) as child:
            opened = open_in(child, path, self._policy)
            if opened.frames * opened.frame_bytes > EAGER_BYTES:
                self._child = None
                return Streamed(path, opened, child, self._policy)
            images = images_of(child, path, opened, self._policy)
            return Held(opened.header, opened.animation, opened.warnings, images)

    def look(self, path: Path) -> Opened:
        """Header, animation and warnings of a file whose pixels are not wanted. Raises PictureError."""
        with self._conversation(path) as child:
            opened = open_in(child, path, self._policy)
            child.request(path, {"read": False})
            return opened

    def close(self) -> None:
        """Ends the process; sources that are still read have their own."""
        if self._child is not None:
            self._child.end()
        self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _conversation(self, path: Path) -> Generator[Child]:
        """A living process, which is ended where it is left in the middle of a sentence."""
        self._child = living(self._child, path, self._policy)
        try:
            yield self._child
        except PictureError:
            raise  # the process said so and waits for the next request, or it is ended
        except BaseException:
            self.close()
            raise
