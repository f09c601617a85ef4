"""Asks pip whether all dependencies have wheels for a Python version that need not be installed here; installs nothing."""

import subprocess
import sys
import tomllib
from pathlib import Path


def main() -> None:
    version, target = sys.argv[1:]
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    wanted = [one for one in project["dependencies"] + extras if not one.startswith("upscale[")]
    options = ["--dry-run", "--quiet", "--only-binary=:all:", "--python-version", version, "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *wanted], check=True)
    print(f"all {len(wanted)} requirements resolve for Python {version}")


if __name__ == "__main__":
    main()
