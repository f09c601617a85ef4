"""Where the files of weights come from, each with its pinned sha256: zoo.toml's `source` tables."""

import importlib.metadata
import importlib.resources
from dataclasses import dataclass
from pathlib import Path

from upscale.files import cache_dir


@dataclass(frozen=True, slots=True)
class Wheel:
    """Two ncnn files in an installed distribution; `sha256` is that of `bin`, which holds the weights."""

    distribution: str
    version: str
    param: str
    param_sha256: str
    bin: str
    sha256: str

    @property
    def origin(self) -> str:
        return f"{self.distribution}=={self.version}: {self.bin}"

    def files(self) -> dict[Path, str]:
        """The files, each with its pinned sha256; none where one is not on this machine. Nothing is imported."""
        try:
            installed = importlib.metadata.distribution(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return {}
        pinned = {self.param: self.param_sha256, self.bin: self.sha256}
        found = {Path(str(installed.locate_file(name))): sha256 for name, sha256 in pinned.items()}
        return found if all(map(is_file, found)) else {}


@dataclass(frozen=True, slots=True)
class Download:
    """An official file, used once it has been fetched."""

    url: str
    sha256: str

    @property
    def origin(self) -> str:
        return self.url

    @property
    def filename(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where it lies once it is here."""
        return cache_dir() / "downloads" / self.filename

    def files(self) -> dict[Path, str]:
        return {self.path: self.sha256} if is_file(self.path) else {}


@dataclass(frozen=True, slots=True)
class Packed:
    """One file in an installed distribution, which need not be of this version: the hash decides."""

    distribution: str
    version: str
    file: str
    sha256: str

    @property
    def origin(self) -> str:
        return f"{self.distribution}=={self.version}: {self.file}"

    def files(self) -> dict[Path, str]:
        """As for Wheel."""
        try:
            path = Path(str(importlib.metadata.distribution(self.distribution).locate_file(self.file)))
        except importlib.metadata.PackageNotFoundError:
            return {}
        return {path: self.sha256} if is_file(path) else {}


@dataclass(frozen=True, slots=True)
class Shipped:
    """A file that lies beside zoo.toml: a network of our own."""

    file: str
    sha256: str

    @property
    def origin(self) -> str:
        return f"comes with upscale: weights/{self.file}"

    def files(self) -> dict[Path, str]:
        """As for Wheel."""
        path = data_folder() / self.file
        return {path: self.sha256} if is_file(path) else {}


Source = Wheel | Download | Shipped


def data_folder() -> Path:
    """The data package's; where Python was started in a clone, the folder beside this package.

    There the clone's `upscale/` hides the installed package, and it has no `weights` inside.
    """
    try:
        return Path(str(importlib.resources.files("upscale.weights")))
    except ModuleNotFoundError:
        return Path(__file__).resolve().parent.parent / "weights"


def zoo_text() -> str:
    return (data_folder() / "zoo.toml").read_text(encoding="utf-8")


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that nobody may look into
        return False
