"""A minimal Debian as a directory, for tests that build or start a whole system.

Made by debootstrap, once: what was made is kept in the directory that the environment variable SCPD_TEST_CACHE names,
else in the user's own cache. Whoever gets it copies it, or lays something over it, and never changes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("debootstrap",)  # what has to be installed here
_PATIENCE = 900.0


def cache() -> Path:
    """Where tests keep between two runs what takes long to make."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scpd-tests"
    folder = Path(os.environ.get("SCPD_TEST_CACHE") or usual)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def missing() -> str:
    """What keeps a root from being made here, or nothing."""
    if os.geteuid() != 0:
        return "root"
    return "" if shutil.which("debootstrap") else "debootstrap"


def debian_root(suite: str = "bookworm", include: Iterable[str] = ()) -> Path:
    """The root directory of a minimal ``suite`` with the packages ``include``. Raises where debootstrap fails."""
    packages = sorted(include)
    root = cache() / "-".join(("debian", suite, *packages))
    with (cache() / "debian.lock").open("w") as lock:  # two suites of tests may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _make(root, suite, packages)
    return root


def _make(root: Path, suite: str, packages: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="debian-") as folder:
        half = Path(folder) / "root"  # renamed when it is whole
        included = [f"--include={','.join(packages)}"] if packages else []
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", *included, suite, half],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert made.returncode == 0, f"debootstrap failed:\n{made.stdout[-2000:]}{made.stderr[-2000:]}"
        for package in (half / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        half.rename(root)
