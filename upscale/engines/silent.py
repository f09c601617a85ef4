"""Imports openvino without its telemetry.

`import openvino` imports its model converter, and that the package openvino_telemetry, which can report to a server. The
converter does without it where it is not installed; this makes it look so, for the time of the import.
"""

import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def openvino() -> tuple[Any, Any]:
    """The modules (openvino, openvino.opset13). Raises ImportError where openvino is not installed."""
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # pyright: ignore[reportArgumentType] - what Python itself does to forbid an import
    try:
        import openvino
        from openvino import opset13
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino, opset13
