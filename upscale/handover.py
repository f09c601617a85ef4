"""What is on its way from the thread that makes it to the one that takes it, never much at once."""

import threading
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Generic, TypeVar

from upscale.errors import UpscaleError
from upscale.image import Band

_LIMIT = 64 << 20
_LOOK = 0.2
"""Seconds after which a waiting thread looks up, so that Ctrl-C reaches it."""


class AbandonedError(UpscaleError):
    """Whoever was to write the bands has given up; its own error says why."""


Item = TypeVar("Item")


class Channel(Generic[Item]):
    """A queue with room for `limit` bytes and `most` items, one item at least. One thread gives, another takes."""

    def __init__(self, limit: int = _LIMIT, most: int | None = None) -> None:
        self._limit, self._most = limit, most
        self._held: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._ended = self._abandoned = False
        self._error: BaseException | None = None

    def put(self, item: Item, size: int) -> None:
        """An item of so many bytes. Waits while the queue is full; raises AbandonedError when nobody takes it."""
        with self._changed:
            while self._is_full() and not self._abandoned:
                self._changed.wait(_LOOK)
            if self._abandoned:
                raise AbandonedError("nobody takes these")
            self._held.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return self._bytes >= self._limit or (self._most is not None and len(self._held) >= self._most)

    def end(self, error: BaseException | None = None) -> None:
        """No more will come; with `error`, because of it, and the taker meets it too."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._abandoned = True
            self._held.clear()
            self._changed.notify_all()

    def taken(self) -> Iterator[Item]:
        """For the taker: all items, until the end."""
        while True:
            with self._changed:
                while not self._held and not self._ended:
                    self._changed.wait(_LOOK)
                if not self._held:
                    if self._error is not None:
                        raise self._error
                    return
                item, size = self._held.popleft()
                self._bytes -= size
                self._changed.notify_all()
            yield item


class Handover(Channel[tuple[int, Band]]):
    """For the bands of pictures."""

    def give(self, frame: int, band: Band) -> None:
        """A band of frame number `frame`; see `put`."""
        self.put((frame, band), _size(band))

    def frames(self) -> Iterator[Iterator[Band]]:
        """For the taker: each frame's bands. What it leaves of a frame is skipped with the next one."""
        for _, items in groupby(self.taken(), key=itemgetter(0)):
            yield map(itemgetter(1), items)


def _size(band: Band) -> int:
    return band.rgb.nbytes + (0 if band.alpha is None else band.alpha.nbytes)
