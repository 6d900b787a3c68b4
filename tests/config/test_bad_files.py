"""What is no configuration: other files, broken text, bombs, and every key with every type that it does not take.

Each is a named fault and exit 78, of ``scpd check`` as of ``scpd run``, in bounded time and memory.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scpd.config import load, schema
from scpd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = "ae_title: A\n"
NUL = "a NUL byte stands here, as in no text; name the YAML file, or save it as UTF-8"
TOO_LARGE = "larger than 1048576 bytes; this is no configuration"
EMPTY = "the file is empty; write at least one key"
TOO_DEEP = "nested deeper than 32; no key lies that deep"
NOT_A_FILE = "cannot be read (Not a regular file); name a file scpd may read"


def archive() -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as each:
        each.writestr("scpd.yaml", GOOD)
    return found.getvalue()


def image() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def laughs() -> str:
    lines = ["a: &a [ha]"] + [
        f"{n}: &{n} [{', '.join([f'*{p}'] * 10)}]" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "\n".join(lines) + "\n"


# What stands in the file, and a part of what is said of it.
CONTENTS = {
    "png": (image(), NUL),
    "zip": (archive(), NUL),
    "dicom": (b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0\xc0\0\0\0", NUL),
    "elf": (Path(sys.executable).resolve().read_bytes()[:65536], NUL),
    "gzip": (zlib.compress(b"x" * 100, wbits=31), "; "),
    "empty": (b"", EMPTY),
    "mark-alone": (b"\xef\xbb\xbf", EMPTY),
    "10-mb": (b"# a comment\n" * 900_000, TOO_LARGE),
    "10-mb-of-one-key": (b"ae_title: " + b"A" * 10_000_000, TOO_LARGE),
    "utf-16": (GOOD.encode("utf-16"), NUL),
    "utf-16-without-mark": (GOOD.encode("utf-16-le"), NUL),
    "utf-32": (GOOD.encode("utf-32"), NUL),
    "latin-1": (b"# f\xfcr\n", "not UTF-8 text; save the file as UTF-8"),
    "nul": (b"ae_title: A\nname: \0\n", f":2: {NUL}"),
    "tabs": (b"limits:\n\tpending: 5\n", ":2: a tab stands here; indent with spaces"),
    "twice": (b"ae_title: A\nae_title: B\n", ":2: ae_title: stands twice, first in line 1; keep one of the two"),
    "billion-laughs": (laughs().encode(), "its aliases grow beyond all bounds; write the values out"),
    "deep-lists": (b"a: " + b"[" * 10_000 + b"]" * 10_000, TOO_DEEP),
    "deep-mappings": (b"{a: " * 10_000 + b"}" * 10_000, TOO_DEEP),
    "deep-blocks": (b"".join(b" " * n + b"a:\n" for n in range(1400)), TOO_DEEP),
    "deep-dashes": (b"- " * 10_000, TOO_DEEP),
    "directives": (b"".join(b"%%TAG !%d! a\n" % n for n in range(65_000)) + b"---\nae_title: A\n", "%TAG is not read"),
    "directive-after-cr": (b"# x\r%TAG !a! b\r---\rae_title: A\r", "%TAG is not read"),
    "a-word": (b"hello", "the file is no mapping; write keys, as in ae_title: SCPD"),
    "xml": (b"<?xml version='1.0'?><scpd/>\n", "the file is no mapping"),
}


def no_file(folder: Path) -> dict[str, str]:
    """What may stand at a path in place of a file, and a part of what is said of it."""
    os.mkfifo(folder / "fifo")
    (folder / "to-fifo").symlink_to("fifo")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "socket"))
    (folder / "secret.yaml").write_text(f"ae_title: file:{folder}/fifo\n")
    return {
        "fifo": NOT_A_FILE,
        "to-fifo": NOT_A_FILE,
        "/dev/zero": NOT_A_FILE,
        "dangling": "cannot be read (No such file or directory)",
        "loop": "cannot be read (Too many levels of symbolic links)",
        "folder": "cannot be read (Is a directory)",
        "socket": "cannot be read (No such device or address)",
        "png/below": "cannot be read (Not a directory)",
        "n" * 300: "cannot be read (File name too long)",
        "secret.yaml": f"ae_title: {folder}/fifo cannot be read (Not a regular file); make it readable",
    }


# Half a GiB of addresses: the interpreter with all that scpd imports takes a third of that.
ALL_OF_THEM = """
import contextlib, io, json, resource, sys, time
from scpd.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
for path in sys.argv[2:]:
    said, began = io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main([sys.argv[1], path])
    print(json.dumps([path, status, said.getvalue(), time.monotonic() - began]), flush=True)
"""


def outcomes(command: str, paths: list[Path]) -> dict[Path, tuple[int, str, float]]:
    """Exit status, what was said and seconds of a command for each path, all in one process with a bound of memory."""
    done = subprocess.run(
        [sys.executable, "-c", ALL_OF_THEM, command, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(path): (status, said, seconds) for path, status, said, seconds in rows}


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_is_no_configuration_is_a_named_fault_and_78(tmp_path, command):
    """All of them together within five seconds, most of which are a busy machine's."""
    expected = {}
    for name, (content, words) in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
        expected[tmp_path / name] = words
    expected |= {tmp_path / name: words for name, words in no_file(tmp_path).items()}
    found = outcomes(command, list(expected))
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        status, said, _ = found[path]
        assert status == 78, (path, status, said[:300])
        assert words in said, (path, said[:300])
        for line in said.splitlines():
            assert line.startswith(str(path))
            assert re.search(r": .+[;?] ", line)
            assert len(line) < 1000
    assert sum(seconds for _, _, seconds in found.values()) < 5


def test_a_byte_order_mark_before_a_configuration_is_no_matter(tmp_path):
    path = tmp_path / "scpd.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + f"storage: {{directory: {tmp_path}/s, reserve: 0}}\n".encode())
    status, said, _ = outcomes("check", [path])[path]
    assert (status, said) == (0, f"{path}: fine: 1 server, 207 SOP classes\n")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may search, unlike those of tests."""
    folder = Path(tempfile.mkdtemp(prefix="scpd-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``scpd`` as a user who may read next to nothing."""
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    start = [*drop, sys.executable, "-m", "scpd"]
    if drop and not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    if subprocess.run([*start, "--version"], capture_output=True, check=False, timeout=60, cwd="/").returncode:
        pytest.skip("another user may not start scpd here")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*start, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")

    return run


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_of_somebody_else_is_a_named_fault(open_folder, as_nobody, command):
    path = open_folder / "scpd.yaml"
    path.write_text(GOOD)
    path.chmod(0)
    done = as_nobody(command, path)
    assert done.returncode == 78
    assert done.stdout + done.stderr == f"{path}: cannot be read (Permission denied); name a file scpd may read\n"


def test_a_storage_directory_below_one_that_may_not_be_searched_is_a_named_fault(open_folder, as_nobody):
    (open_folder / "closed" / "store").mkdir(parents=True)
    path = open_folder / "scpd.yaml"
    path.write_text(f"storage: {{directory: {open_folder}/closed/store/deeper}}\n")
    (open_folder / "closed").chmod(0)
    done = as_nobody("check", path)
    (open_folder / "closed").chmod(0o755)
    assert (done.returncode, done.stderr) == (78, "")
    assert f"{open_folder}/closed cannot be written to by this user; mend its rights" in done.stdout


# -- every key with every type


WRONG = {
    "a list": [],
    "a list of lists": [["x"]],
    "a mapping": {"no_such_key": 1},
    "a number": 5,
    "a negative number": -5,
    "a huge number": 10**17,
    "a fraction": 1.5,
    "text": "no such word;",
    "true": True,
    "false": False,
    "null": None,
    "a date": dt.date(2020, 1, 1),
}
WHOLE = schema()
REFERENCE = r"\$\{|^file:/"  # may stand in place of any value, and is none of these


def alternatives(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of which a value has to fit one."""
    if "$ref" in one:
        yield from alternatives(WHOLE["$defs"][one["$ref"].rpartition("/")[2]])
    elif "anyOf" in one or "oneOf" in one:
        for each in (*one.get("anyOf", ()), *one.get("oneOf", ())):
            yield from alternatives(each)
    elif one.get("pattern") != REFERENCE:
        yield one


def may_fit(value: Any, one: dict[str, Any]) -> bool:
    """Whether a value may fit a schema; of a list and a mapping the kind alone is looked at."""
    return any(_fits(value, each) for each in alternatives(one))


def _fits(value: Any, one: dict[str, Any]) -> bool:
    if "const" in one or "enum" in one:
        return value in one.get("enum", (one.get("const"),))
    types = one["type"] if isinstance(one["type"], list) else [one["type"]]
    match value:
        case bool():
            return "boolean" in types
        case None:
            return "null" in types
        case list():
            return "array" in types and (bool(value) or not one.get("minItems"))
        case dict():
            return "object" in types
        case int() if "integer" in types:
            return one.get("minimum", value) <= value <= one.get("maximum", value)
        case _:  # text, and what YAML has for numbers and dates and scpd takes as the text that was written
            return "string" in types and bool(re.search(one.get("pattern", ""), str(value)))


def keys(properties: dict[str, Any], around: Callable[[dict[str, Any]], dict[str, Any]], place: str):
    """Each key below: its place, its schema, and a document that says a value there and as little else as can be."""
    kind = {"kind": properties["kind"]["const"]} if "const" in properties.get("kind", {}) else {}
    for one in alternatives(properties.get("kind", {})):
        kind = {"kind": one["const"]} if "const" in one else kind
    for name, one in properties.items():
        yield f"{place}{name}", one, lambda value, name=name: around({**kind, name: value})
        for section, shape, suffix in sections(one):
            inner = lambda data, name=name, shape=shape: around({**kind, name: shape(data)})  # noqa: E731
            yield from keys(section, inner, f"{place}{name}{suffix}.")


def sections(one: dict[str, Any]):
    """The sections that lie in a key: its properties, how they are wrapped, and what a place says of that."""
    for each in alternatives(one):
        if "properties" in each:
            yield each["properties"], lambda data: data, ""
        for section, shape, suffix in sections(each["items"]) if "items" in each else ():
            yield section, lambda data, shape=shape: [shape(data)], f"[0]{suffix}"
        for named in (each.get("additionalProperties"), *each.get("patternProperties", {}).values()):
            for section, shape, suffix in sections(named) if isinstance(named, dict) else ():
                yield section, lambda data, shape=shape: {"X": shape(data)}, f".X{suffix}"


# The keys of a server stand at the top as well.
EVERY_KEY = {
    place: (one, document)
    for place, one, document in keys(WHOLE["properties"], lambda data: data, "")
    if not place.startswith("servers[0]") or place in ("servers[0].bind", "servers[0].tls", "servers[0].tls.key")
}


def test_every_section_is_among_the_keys():
    assert len(EVERY_KEY) > 100
    for place in ("bind", "limits.pdu_length", "contexts[0].scu_role", "access[0].allow.calling", "peers.X.tls.ca"):
        assert place in EVERY_KEY
    for place in ("user_identity.providers[0].keytab", "audit.destinations[0].address", "servers[0].tls.key"):
        assert place in EVERY_KEY


@pytest.mark.parametrize("place", EVERY_KEY)
def test_a_value_of_a_type_that_a_key_does_not_take_is_a_fault_there(tmp_path, place):
    """And any other is taken, or a fault in words of our own."""
    one, document = EVERY_KEY[place]
    path = tmp_path / "scpd.yaml"
    refused = 0
    for name, value in WRONG.items():
        path.write_text(yaml.safe_dump(document(value), sort_keys=False))
        faults = faults_of(path)
        for fault in faults:
            assert not re.search(r"pydantic|Input should|validation|scpd schema says|Traceback", fault), (name, fault)
            assert re.search(r": .+[;?]", fault), (name, fault)
            assert len(fault) < 1000
        if not may_fit(value, one):
            refused += 1
            told_at = place.removesuffix(".kind")  # without a kind that is one, nothing is known of the whole entry
            assert any(f": {told_at}" in fault for fault in faults), (place, name, faults)
    assert refused >= 3


def faults_of(path: Path) -> list[str]:
    try:
        load(path, {})
    except ConfigurationError as error:
        return list(error.faults) or ["a refusal without a fault"]
    return []
