"""The image, built once for all tests, and containers of it; where neither is possible the tests are skipped by name.

In CI a test that is skipped is a failure.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from components import image as built
from components.image import Container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "image" in item.fixturenames:
            item.add_marker(pytest.mark.image)


@pytest.fixture(scope="session")
def image() -> Iterator[built.Image]:
    """What the Dockerfile makes of this tree."""
    missing = ", ".join(built.missing())
    if missing and os.environ.get("CI"):
        pytest.fail(f"an image cannot be built here without {missing}, and in CI no test may be missing")
    if missing:
        pytest.skip(f"an image cannot be built here without {missing}")
    with built.build(ROOT) as image:
        yield image


@pytest.fixture
def volume(image, tmp_path) -> Path:
    """A new volume as engines make it: with owner and rights of the directory in the image."""
    folder, pattern = tmp_path / "volume", image.root / "var/lib/scpd"
    folder.mkdir()
    folder.chmod(pattern.stat().st_mode & 0o7777)
    os.chown(folder, pattern.stat().st_uid, pattern.stat().st_gid)
    return folder


@pytest.fixture
def user() -> str:
    """A user that no file of the image knows."""
    return str(20_000 + secrets.randbelow(40_000))


@pytest.fixture
def container(image, volume, user, tmp_path) -> Iterator[Callable[..., Container]]:
    """Start a container with the volume; what is written to the root is an error unless ``writable`` says otherwise."""
    started: list[Container] = []

    def start(*arguments: str, mounts=None, ready: bool = True, **how) -> Container:
        folder = tmp_path / f"container-{len(started)}"
        folder.mkdir()
        places = {"/var/lib/scpd": volume, **(mounts or {})}
        one = Container(image, folder, places, **{"user": user, "arguments": arguments, **how})
        started.append(one)
        if ready:
            one.wait_for("ready")
        return one

    yield start
    for one in started:
        one.clean_up()
