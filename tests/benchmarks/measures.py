"""How each kind of figure is taken: a fresh server, a load, numbers by name. A run that fails raises RunFailed."""

import json
import subprocess
import sys
import threading
import time
from statistics import median

import procfs
from ground import HERE, MIB, RunFailed
from servers import dcmtk, serving

LOAD_TIMEOUT = 180.0
CLIENT_TIMEOUT = 180.0
LOADS = 3
WARM_UP = 20
SETTLE = 1.0
AIR = 64 * MIB


def rate(mode, *, data=None, assocs=1, warm_up=WARM_UP):
    """Messages (or associations) per second of `count` from each of `assocs` clients at once: the median of a few loads."""

    def measure(ground, server, count):
        loads = 1 if ground.smoke else LOADS
        with serving(ground, server) as running:
            _load(running, mode, data=data, count=min(warm_up, count))
            if data:
                size = (ground.data / f"{data}.bin").stat().st_size
                copies = loads * assocs * count + assocs + 1  # those of the clients too
                ground.warm_memory(copies * size + AIR)
            results = [_load(running, mode, data=data, assocs=assocs, count=count) for _ in range(loads)]
            return {"rate": median(result["per_s"] for result in results)}

    return measure


def peak_memory(ground, server, count):
    """By how many MiB the peak of resident memory grows: over `count` of big, and over one data set of 1 GiB."""
    figures = {"big": _growth(ground, server, ground.data_keys("big"), count)}
    with ground.giant() as keys:
        if keys:
            figures["giant"] = _growth(ground, server, keys, 1)
    return figures


def hold(ground, server, count):
    """`count` associations, idle for a while: the share that still answers, processor time, memory."""
    window = 2 if ground.smoke else 5
    with serving(ground, server) as running:
        before = procfs.resident(running.pid)
        keys = [f"assocs={count}", f"seconds={window + 3}"]
        with _Held(running.load("hold", *keys)) as held:
            time.sleep(SETTLE)
            cpu, begin = procfs.cpu_seconds(running.pid), time.monotonic()
            time.sleep(window)
            cpu = (procfs.cpu_seconds(running.pid) - cpu) / (time.monotonic() - begin)
            resident = procfs.resident(running.pid) - before
            result = held.result()
        return {
            "answer": 100 * result["echoed_after"] / count,
            "cpu": 100 * cpu,
            "memory": resident / 1024 / count,
        }


def client(program):
    """Files per second of one of DCMTK's clients with its default settings, process start included."""

    def measure(ground, server, count):
        folder = ground.ct_files(count)
        with serving(ground, server) as running:
            ground.warm_memory(sum(path.stat().st_size for path in folder.iterdir()) + AIR)
            command = [dcmtk(program), "127.0.0.1", str(running.port), "+sd", str(folder)]
            begin = time.monotonic()
            done = _run(command, CLIENT_TIMEOUT)
            elapsed = time.monotonic() - begin
            if done.returncode:
                raise RunFailed(f"{program}: exit {done.returncode}: {_last_line(done.stderr)}")
            _expect_stored(running, count)
            return {"rate": count / elapsed}

    return measure


def scu(ground, server, count):
    """Files per second from one association, by what sends them: scpd's SCU, pynetdicom's (fewer), dimseload."""
    folder = ground.ct_files(count)
    size = sum(path.stat().st_size for path in folder.iterdir())
    few = ground.ct_files(max(count // 10, 1))
    figures = {}
    for which, files, many in (("scpd", folder, count), ("pynetdicom", few, max(count // 10, 1))):
        with serving(ground, server) as running:
            ground.warm_memory(size + AIR)
            done = _run([sys.executable, str(HERE / "scu.py"), which, str(running.port), str(files)], CLIENT_TIMEOUT)
            if done.returncode:
                raise RunFailed(f"scu.py {which}: exit {done.returncode}: {_last_line(done.stderr)}")
            _expect_stored(running, many)
            figures[which] = json.loads(done.stdout)["per_s"]
    with serving(ground, server) as running:
        ground.warm_memory(size + AIR)
        figures["dimseload"] = _load(running, "store", data="ct", count=count)["per_s"]
    return figures


def start(ground, server, _count):
    """Seconds from the start of the process until a connection and a C-ECHO are answered."""
    with serving(ground, server) as running:
        return {"time": running.ready_after}


def _load(running, mode, *, data=None, **keys):
    """Run dimseload once; its JSON. Every response was a Success and every instance is in the folder."""
    ground = running.site.ground
    words = [*(f"{key}={value}" for key, value in keys.items()), f"tag={ground.tag()}"]
    places = ground.data_keys(data) if isinstance(data, str) else data or []
    before = running.stored()
    done = _run(running.load(mode, *words, "quickack=1", *places), LOAD_TIMEOUT)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise RunFailed(f"dimseload: exit {done.returncode}: {_last_line(done.stderr)}") from None
    if result["failures"]:
        raise RunFailed(f"{result['failures']} of {result['n']} failed, at last with {result['last_bad']:#x}")
    if mode == "store":
        _expect_stored(running, before + result["n"])
    if "tls" in result:
        ground.note(f"{running.server.name} over TLS: {result['tls']}")
    return result


def _growth(ground, server, keys, count):
    with serving(ground, server) as running:
        procfs.reset_peak(running.pid)
        before = procfs.peak(running.pid)
        _load(running, "store", data=keys, count=count)
        return (procfs.peak(running.pid) - before) / MIB


class _Held:
    """dimseload while it holds its associations; entered when all are open."""

    def __init__(self, command):
        self._command = command

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._watchdog = threading.Timer(LOAD_TIMEOUT, self._process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()
        try:
            self._process.stderr.readline()  # "held N of M", or the end of the file
        except BaseException:
            self.__exit__()
            raise
        return self

    def result(self):
        output, errors = self._process.communicate()
        try:
            return json.loads(output)
        except ValueError:
            raise RunFailed(f"dimseload: exit {self._process.returncode}: {_last_line(errors)}") from None

    def __exit__(self, *_):
        self._watchdog.cancel()
        self._process.kill()
        self._process.communicate()


def _run(command, timeout):
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{command[0]} had not ended after {timeout:.0f} s") from None


def _expect_stored(running, count):
    stored = running.stored()
    if stored != count:
        raise RunFailed(f"{count} instances were sent, {stored} are in the folder")


def _last_line(text):
    return (text.strip().splitlines() or ["no output"])[-1][:300]
