"""openvino without its telemetry, and with one Core for the whole process.

`import openvino` imports its model converter, and that the package openvino_telemetry, which can report to a server. The
converter does without it where it is not installed; this makes it look so, for the time of the import.
"""

import functools
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


@functools.cache
def core() -> Any:
    """The one Core, which lives as long as the process.

    Its plugin for CPUs exchanges the calling thread's stack for signals (sigaltstack) when it is loaded, and unmaps its own
    when it is freed. Of two, freed in the order in which they were made or by another thread, one leaves a stack that is no
    longer mapped: the next signal that Python handles, such as Ctrl-C, kills the process.
    """
    module, _ = openvino()
    return module.Core()
