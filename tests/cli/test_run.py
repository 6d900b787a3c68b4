"""``scpd run``: what it says to the shell, and that it serves wherever and however it is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from scpd.wire.pdu import AssociateAC

PATIENCE = 30.0
BASE = ["ae_title: SCPD", "bind: 127.0.0.1:0"]


def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "scpd", "run", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def write(folder: Path, *lines: str) -> Path:
    path = folder / "scpd.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_sigterm_is_0(daemon):
    assert daemon().stop() == 0


def test_a_bad_configuration_is_78_with_every_fault_and_its_line(tmp_path):
    path = write(tmp_path, *BASE, "limits: {associations: many}", "timeout: {idle: 1s}")
    result = run(path)
    assert result.returncode == 78
    assert f"{path}:3: limits.associations: " in result.stderr
    assert f"{path}:4: timeout: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_configuration_that_is_not_there_is_78_and_named(tmp_path):
    result = run(tmp_path / "missing.yaml")
    assert result.returncode == 78
    assert "missing.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use_is_1_and_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run(write(tmp_path, f"bind: 127.0.0.1:{port}", "storage: {directory: store}"), cwd=tmp_path)
    assert result.returncode == 1
    assert f"scpd: cannot listen on 127.0.0.1:{port}: Address already in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_second_port_in_use_ends_the_first_server_too(tmp_path, free_port):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        servers = f"servers: [{{bind: '127.0.0.1:{free_port}'}}, {{bind: '127.0.0.1:{taken}'}}]"
        result = run(write(tmp_path, "storage: {directory: store}", servers), cwd=tmp_path)
    assert result.returncode == 1
    assert f":{taken}: Address already in use" in result.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port))


def test_wrong_usage_is_2(tmp_path):
    assert run("a", "b").returncode == 2


@contextmanager
def mounted(folder: Path, *options: str):
    """A file system of its own; skipped where nothing can be mounted, which in CI is a failure."""
    folder.mkdir()
    result = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "scpd-test", str(folder)], capture_output=True, check=False
    )
    if result.returncode and os.environ.get("CI"):
        pytest.fail(f"nothing can be mounted here, and in CI no fault may be missing: {result.stderr}")
    if result.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.faults
@pytest.mark.parametrize("below", ["", "/not/there/yet"])
def test_a_read_only_storage_directory_is_78_with_its_line(tmp_path, below):
    folder = tmp_path / "mount"
    path = write(tmp_path, *BASE, "storage:", f"  directory: {folder}{below}")
    with mounted(folder, "-o", "ro"):
        result = run(path)
    assert result.returncode == 78
    assert f"{path}:4: storage.directory: {folder} cannot be written to" in result.stderr
    assert "read-only" in result.stderr


def test_a_storage_directory_below_a_file_is_78_with_its_line(tmp_path):
    (tmp_path / "file").write_text("")
    path = write(tmp_path, *BASE, "storage:", f"  directory: {tmp_path}/file/store")
    result = run(path)
    assert result.returncode == 78
    assert f"{path}:4: storage.directory: {tmp_path}/file is not a directory" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_spool_that_is_no_directory_is_a_sentence(tmp_path, what):
    spool = tmp_path / "store" / ".incoming"
    spool.parent.mkdir()
    if what == "file":
        spool.write_text("")
    else:
        spool.symlink_to(tmp_path)
    result = run(write(tmp_path, *BASE, f"storage: {{directory: {tmp_path}/store}}"))
    assert result.returncode in (1, 78)
    assert f"the storage directory {tmp_path}/store cannot be used" in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scpd.yaml", "store"]


def wait_for_port(process: subprocess.Popen, port: int) -> None:
    """Until somebody listens; the process must live as long."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"it ended with {process.wait(0.05)}")
    raise AssertionError("nobody listens")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_it_serves_and_ends_well_with_standard_streams_closed(daemon, connect, free_port, closed):
    one = daemon(wrap=("sh", "-c", f'exec "$@" {closed}', "sh"), bind=f"127.0.0.1:{free_port}", ready=False)
    wait_for_port(one.process, free_port)
    client = connect(free_port)
    assert isinstance(client.associate(), AssociateAC)
    # No socket or file of its own stands where a library may write a message to.
    for number in range(3):
        target = os.readlink(f"/proc/{one.pid}/fd/{number}")
        assert target == "/dev/null" or target.startswith("pipe:"), f"descriptor {number} is {target}"
    client.release()
    assert one.stop() == 0


def test_without_a_configuration_it_serves_the_default_from_an_empty_folder(tmp_path):
    """In a network of its own where that can be had, since the default port may be taken."""
    if Path("/etc/scpd/scpd.yaml").exists():
        pytest.skip("/etc/scpd/scpd.yaml exists, so it is the default")
    own = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0
    wrap = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"] if own else []
    process = subprocess.Popen(
        [*wrap, sys.executable, "-m", "scpd", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"ready"' in line:
                break
        assert any('"127.0.0.1:11112"' in line and '"SCPD"' in line for line in lines), lines
        inside = ["nsenter", "-t", str(process.pid), "-n"] if own else []
        echo = [*inside, sys.executable, "-m", "scpd", "echo", "127.0.0.1:11112"]
        assert subprocess.run(echo, capture_output=True, timeout=PATIENCE, check=False).returncode == 0
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert [path.name for path in tmp_path.iterdir()] == ["scpd-data"]
    assert (tmp_path / "scpd-data" / ".incoming").is_dir()
