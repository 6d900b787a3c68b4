"""How each kind of figure is taken: a fresh server, a load, numbers by name. A run that fails raises RunFailed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from statistics import median
from urllib.request import urlopen

import procfs
import yaml
from ground import HERE, MIB, ROOT, RunFailed
from servers import dcmtk, serving

from scpd import AE

LOAD_TIMEOUT = 180.0
CLIENT_TIMEOUT = 180.0
LOADS = 3
WARM_UP = 20
VERIFICATION = "1.2.840.10008.1.1"
SETTLE = 1.0
AIR = 64 * MIB


def rate(mode, *, data=None, assocs=1, warm_up=WARM_UP):
    """Messages (or associations) per second of `count` from each of `assocs` clients at once: the median of a few loads."""

    def measure(ground, server, count):
        loads = 1 if ground.smoke else LOADS
        with serving(ground, server) as running, asked(running):
            load(running, mode, data=data, count=min(warm_up, count))
            if data:
                size = (ground.data / f"{data}.bin").stat().st_size
                copies = loads * assocs * count + assocs + 1  # those of the clients too
                ground.warm_memory(copies * size + AIR)
            results = [load(running, mode, data=data, assocs=assocs, count=count) for _ in range(loads)]
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
            done = run(command, CLIENT_TIMEOUT)
            elapsed = time.monotonic() - begin
            if done.returncode:
                raise RunFailed(f"{program}: exit {done.returncode}: {last_line(done.stderr)}")
            expect_stored(running, count)
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
            done = run([sys.executable, str(HERE / "scu.py"), which, str(running.port), str(files)], CLIENT_TIMEOUT)
            if done.returncode:
                raise RunFailed(f"scu.py {which}: exit {done.returncode}: {last_line(done.stderr)}")
            expect_stored(running, many)
            figures[which] = json.loads(done.stdout)["per_s"]
    with serving(ground, server) as running:
        ground.warm_memory(size + AIR)
        figures["dimseload"] = load(running, "store", data="ct", count=count)["per_s"]
    return figures


def reload(ground, server, count):
    """`count` reloads under four storing associations: what failed or was refused, and how long a C-ECHO took."""
    with serving(ground, server) as running:
        ground.warm_memory(AIR)
        calm = _under_load(running, lambda: time.sleep(1 if ground.smoke else 5))
        log = running.site.config.with_suffix(".log")

        def reload_again_and_again():
            for number in range(1, count + 1):
                os.kill(running.pid, signal.SIGHUP)
                _wait_for_reloads(log, number)

        return {"calm": calm["p99"], **_under_load(running, reload_again_and_again)}


def _under_load(running, work):
    """Four associations that store, one that echoes, one that connects anew each time, all the while during `work`."""
    over, took, failed = threading.Event(), [], []
    threads = [
        threading.Thread(target=_store, args=(running, over, failed)),
        threading.Thread(target=_echo, args=(running.port, over, took, failed)),
        threading.Thread(target=_connect, args=(running.port, over, failed)),
    ]
    try:
        for thread in threads:
            thread.start()
        work()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed:
        raise RunFailed(f"{len(failed)} failed, the first with {failed[0]}")
    took.sort()
    return {"p99": 1000 * took[int(len(took) * 0.99)], "max": 1000 * took[-1]}


def _store(running, over, failed):
    """Four associations at once, again and again; the same instances each time, so that the folder does not grow."""
    words = ["assocs=4", "count=200", f"tag={running.site.ground.tag()}", "quickack=1"]
    command = running.load("store", *words, *running.site.ground.data_keys("ct"))
    while not over.is_set():
        result = json.loads(run(command, LOAD_TIMEOUT).stdout)
        if result["failures"] or result["n"] != 800:
            failed.append(f"{result['failures']} C-STOREs of {result['n']}")


def _echo(port, over, took, failed):
    """A C-ECHO every 20 ms over one association, and how long each took (seconds)."""
    ae = AE("ECHO")
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", port)
    try:
        while not over.wait(0.02):
            begin = time.monotonic()
            if assoc.send_c_echo().Status != 0:
                failed.append("a C-ECHO that was no success")
            took.append(time.monotonic() - begin)
    except Exception as error:
        failed.append(error)
    finally:
        assoc.release()


def _connect(port, over, failed):
    """A connection and a C-ECHO every 50 ms, each by an association of its own."""
    ae = AE("CONNECT")
    ae.add_requested_context(VERIFICATION)
    while not over.wait(0.05):
        assoc = ae.associate("127.0.0.1", port)
        if not assoc.is_established or assoc.send_c_echo().Status != 0:
            failed.append("an association that was refused")
        assoc.release()


def _wait_for_reloads(log, count):
    end = time.monotonic() + LOAD_TIMEOUT
    while (said := log.read_text()).count('"reloaded"') < count:
        if "reload failed" in said or time.monotonic() > end:
            raise RunFailed(f"reload {count} did not succeed: {last_line(said)}")
        time.sleep(0.005)


@contextmanager
def asked(running):
    """Ask the admin endpoint for all that it has, once a second, where the server has one."""
    admin = yaml.safe_load(running.site.config.read_text()).get("admin") if running.site.config.exists() else None
    over = threading.Event()

    def ask():
        while not over.wait(1.0):
            for path in ("metrics", ""):
                with urlopen(f"http://{admin['bind']}/{path}", timeout=LOAD_TIMEOUT) as answer:
                    answer.read()

    thread = threading.Thread(target=ask)
    if admin:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if admin:
            thread.join()


def check(_ground, _server, _count):
    """Seconds of `scpd check` of the example configurations, process start included: the slowest."""
    times = []
    for path in sorted((ROOT / "config").glob("*.yaml")):
        begin = time.monotonic()
        done = run([sys.executable, "-m", "scpd", "check", str(path)], CLIENT_TIMEOUT)
        if done.returncode not in (0, 78):  # a certificate that is not on this machine is a fault, and takes its time
            raise RunFailed(f"scpd check {path.name}: exit {done.returncode}: {last_line(done.stderr)}")
        times.append(time.monotonic() - begin)
    return {"time": max(times)}


def start(ground, server, _count):
    """Seconds from the start of the process until a connection and a C-ECHO are answered."""
    with serving(ground, server) as running:
        return {"time": running.ready_after}


def load(running, mode, *, data=None, **keys):
    """Run dimseload once; its JSON. Every response was a Success and every instance is in the folder."""
    ground = running.site.ground
    words = [f"{key}={value}" for key, value in {"tag": ground.tag(), **keys}.items()]
    places = ground.data_keys(data) if isinstance(data, str) else data or []
    before = running.stored()
    done = run(running.load(mode, *words, "quickack=1", *places), LOAD_TIMEOUT)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise RunFailed(f"dimseload: exit {done.returncode}: {last_line(done.stderr)}") from None
    if result["failures"]:
        raise RunFailed(f"{result['failures']} of {result['n']} failed, at last with {result['last_bad']:#x}")
    if mode == "store":
        expect_stored(running, before + result["n"])
    if "tls" in result:
        ground.note(f"{running.server.name} over TLS: {result['tls']}")
    return result


def _growth(ground, server, keys, count):
    with serving(ground, server) as running:
        procfs.reset_peak(running.pid)
        before = procfs.peak(running.pid)
        load(running, "store", data=keys, count=count)
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
            raise RunFailed(f"dimseload: exit {self._process.returncode}: {last_line(errors)}") from None

    def __exit__(self, *_):
        self._watchdog.cancel()
        self._process.kill()
        self._process.communicate()


def run(command, timeout):
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{command[0]} had not ended after {timeout:.0f} s") from None


def expect_stored(running, count):
    stored = running.stored()
    if stored != count:
        raise RunFailed(f"{count} instances were sent, {stored} are in the folder")
    indexed = running.indexed()
    if indexed not in (None, count):
        raise RunFailed(f"{count} instances were sent, {indexed} are in the index")


def last_line(text):
    return (text.strip().splitlines() or ["no output"])[-1][:300]
