"""The rooms of scpd import one way only, and the pure ones stay pure (docs/architecture.md)."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import scpd

ROOT = Path(scpd.__file__).parent
# A room imports rooms to its left: never to its right, and not its neighbours between the same bars.
ORDER = (
    "errors names sop_class version │ part10 regular commits │ wire │ association negotiation dimse │ transport │ "
    "client storage identity telemetry │ forward index │ retention services │ server │ ae config admin │ daemon │ cli"
)
PLACE = {room: place for place, rooms in enumerate(ORDER.split("│")) for room in rooms.split()}
PURE = ("wire", "association", "negotiation", "dimse")
# What the pure rooms may import themselves has to be pure with them.
BELOW = ("errors", "names", "sop_class", "version")
IMPURE = {
    *("socket", "ssl", "select", "selectors", "asyncio", "threading", "multiprocessing", "queue", "signal"),
    *("subprocess", "time", "datetime", "logging", "structlog", "pathlib", "os", "io", "tempfile", "shutil"),
}
ONLY_WITH_CONFIGURATION = {"config", "daemon", "cli"}

FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


class Import(NamedTuple):
    """One imported module by its whole name, and the line where it stands."""

    module: str
    line: int


def name_of(path: Path) -> str:
    return path.relative_to(ROOT.parent).as_posix()


def room_of(path: Path) -> str:
    """The package or module directly inside scpd; empty for scpd/__init__.py, which is the library's face."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(tree: ast.Module, package: str) -> list[Import]:
    """Every import of a file, wherever it stands: in functions, and where only a type checker looks."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            found.append(Import(base, node.lineno))
            found += [Import(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


@cache
def read(path: Path) -> tuple[ast.Module, list[Import]]:
    tree = ast.parse(path.read_text(encoding="utf-8"), name_of(path))
    package = ".".join(path.parent.relative_to(ROOT.parent).parts)
    return tree, imports(tree, package)


def rooms_imported(path: Path) -> set[tuple[str, int]]:
    """(room, line) of each import from scpd. ``from scpd import AE`` is an import of the library's face."""
    named = ((one.module.split("."), one.line) for one in read(path)[1])
    return {(parts[1], line) for parts, line in named if parts[0] == "scpd" and len(parts) > 1}


every_file = pytest.mark.parametrize("path", FILES, ids=name_of)


def test_there_is_something_to_look_at():
    assert {room_of(path) for path in FILES} >= {*PURE, *BELOW}
    assert "wire" in {room for room, _ in rooms_imported(ROOT / "association" / "machine.py")}


@every_file
def test_a_room_has_its_place_in_the_order(path):
    """A new room is put into ORDER here and in docs/architecture.md."""
    assert room_of(path) in {*PLACE, "", "__main__"}


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in PLACE], ids=name_of)
def test_imports_point_to_the_left(path):
    """The library's face, scpd/__init__.py, and the command's entry, __main__.py, stand outside the order."""
    room = room_of(path)
    wrong = [
        f"{name_of(path)}:{line}: {room} imports {other}"
        for other, line in rooms_imported(path)
        if other != room and not PLACE.get(other, len(PLACE)) < PLACE[room]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in (*PURE, *BELOW)], ids=name_of)
def test_a_pure_room_knows_no_network_no_clock_no_thread_no_log_and_no_file(path):
    found = [f"{name_of(path)}:{line}: {module}" for module, line in read(path)[1] if module.split(".")[0] in IMPURE]
    assert not found, "\n".join(found)


@every_file
def test_no_other_room_has_heard_of_the_configuration(path):
    if room_of(path) in ONLY_WITH_CONFIGURATION:
        return
    found = [f"{name_of(path)}:{line}" for room, line in rooms_imported(path) if room == "config"]
    assert not found, "\n".join(found)


@every_file
def test_pynetdicom_is_a_test_peer_and_never_imported_by_the_product(path):
    assert not [one for one in read(path)[1] if one.module.split(".")[0] == "pynetdicom"]


@every_file
def test_nothing_sleeps(path):
    """Threads wait in recv or a selector, or on an event with a deadline."""
    tree, found = read(path)
    slept = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "sleep"]
    slept += [line for module, line in found if module.endswith(".sleep")]
    assert not slept, [f"{name_of(path)}:{line}" for line in slept]


@every_file
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(read(path)[0]), f"{name_of(path)} has no docstring"


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=name_of)
def test_a_folder_with_modules_is_a_package(folder):
    assert (folder / "__init__.py").is_file(), f"{name_of(folder)} has no __init__.py"


def test_the_walk_sees_every_way_to_import():
    source = """
import scpd.wire.pdu as one
from scpd import names
from scpd.errors import ScpdError
from .table import TABLE
from .. import version
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from scpd.dimse import codec
def later():
    import scpd.config
"""
    found = {one.module for one in imports(ast.parse(source), "scpd.association")}
    assert found >= {
        "scpd.wire.pdu",
        "scpd.names",
        "scpd.errors",
        "scpd.association.table",
        "scpd.version",
        "scpd.dimse",
        "scpd.config",
    }
