"""Nothing is ever sent: openvino comes without its telemetry, and no socket is opened."""

import subprocess
import sys

JOB = """
import socket, sys

def refused(*args, **kwargs):
    raise AssertionError("a socket was opened")

socket.socket = socket.create_connection = socket.getaddrinfo = refused
import numpy as np
import upscale
up = upscale.load("animevideov3", device="cpu", engine="openvino")
assert up(np.zeros((5, 7, 3), np.uint8)).shape == (20, 28, 3)
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("openvino_telemetry", "torch")))
"""


def test_openvino_comes_without_its_telemetry_and_torch_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "[]"


def test_telemetry_is_hidden_only_for_the_import() -> None:
    code = "from upscale.engines import silent; silent.openvino(); import openvino_telemetry; print(openvino_telemetry.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "openvino_telemetry", done.stderr
