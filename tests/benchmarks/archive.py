"""How the figures of an archive are taken: what is found, what is sent, what is written down anew. See measures.py."""

import json
import os
import shutil
import sys
import time
from statistics import median

import held
import procfs
from ground import MIB, RunFailed
from measures import AIR, LOADS, WARM_UP, last_line, load, run
from servers import DCMQRSCP, LIMIT, serving

COMMAND_TIMEOUT = 600.0
FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
ALL = 3  # times that all studies are asked for
ONE_SERIES = 1_000_000  # dimseload's `per`: all that one load stores
COUNTED = ("ModalitiesInStudy", "NumberOfStudyRelatedInstances")


def find(ground, server, count):
    """C-FIND of one study, by its patient and by its UID, `count` of each; and of all studies."""
    studies = ground.area_studies() if server is DCMQRSCP else ground.studies()
    with serving(ground, server) as running:
        figures = {}
        for name, key in (("patient", "PatientID"), ("study", "StudyInstanceUID")):
            words = held.identifier(ground.data / f"{name}.find", key)
            _find(running, words, min(WARM_UP, count), keys=studies)
            found = _find(running, words, count, keys=studies)
            if found["responses"] != count:
                raise RunFailed(f"{count} studies were asked for by {key}, {found['responses']} were found")
            figures |= {f"{name}_{what}": found[f"{what}_ms"] for what in ("p50", "p99")}
            figures[f"{name}_rate"] = found["per_s"]
        return figures | _all(running, studies)


def _all(running, studies):
    """Answers per second with all studies, ms until the first of them, and the growth of memory meanwhile (MiB)."""
    data = running.site.ground.data
    procfs.reset_peak(running.pid)
    before = procfs.peak(running.pid)
    found = _find(running, held.identifier(data / "all.find"), ALL)
    grown = (procfs.peak(running.pid) - before) / MIB
    counted = _find(running, held.identifier(data / "counted.find", "", *COUNTED), 1)
    for one, times in ((found, ALL), (counted, 1)):
        if one["responses"] != times * studies:
            raise RunFailed(f"all {studies} studies were asked for, {one['responses'] / times} were found")
    return {
        "all": found["responses"] / found["seconds"],
        "first": found["first_ms"],
        "memory": grown,
        "counted": counted["responses"] / counted["seconds"],
    }


def _find(running, words, count, **keys):
    return load(running, "find", data=[*words, f"sop={FIND}"], count=count, **keys)


def retrieve(ground, server, count):
    """CT slices per second: by dimseload to dimselimit, then by C-MOVE to it and by C-GET to what is like it."""
    loads = 1 if ground.smoke else LOADS
    size = (ground.data / "ct.bin").stat().st_size
    with serving(ground, LIMIT, ground.receiver) as receiver, serving(ground, server) as running:
        ground.warm_memory(2 * count * size + AIR)
        tag = ground.tag()
        load(running, "store", data="ct", count=count, per=ONE_SERIES, tag=tag)
        request = _of_one_study(ground, tag)
        figures = {"dimseload": [], "move": [], "get": []}
        for _ in range(loads):
            figures["dimseload"].append(load(receiver, "store", data="ct", count=count)["per_s"])
            _emptied(receiver)
            moved = load(running, "move", data=[*request, f"sop={MOVE}"], count=1, destination="LIMIT")
            figures["move"].append(_expected(receiver, count) / moved["seconds"])
            figures["get"].append(count / _get(running, receiver, request, count))
        return {name: median(values) for name, values in figures.items()}


def _of_one_study(ground, tag):
    """The identifier of what one load has stored, as dimseload numbers it."""
    path = ground.data / "retrieve.find"
    words = held.identifier(path, "StudyInstanceUID")
    number = f"{tag * 1_000_000 // (4 * ONE_SERIES) + 1:012}".encode()
    path.write_bytes(path.read_bytes().replace(held.STUDY.encode(), held.STUDY[:-12].encode() + number))
    return words[:2]  # a number is not to be put in


def _get(running, receiver, request, count):
    """Seconds of one C-GET, to the folder that the receiver would have used."""
    program, path = running.site.ground.program("dimselimit"), request[0].removeprefix("file=")
    folder = str(receiver.site.folder)
    command = [program, "get", str(running.port), "ANY", folder, path, held.CT, held.EXPLICIT]
    done = run(command, COMMAND_TIMEOUT)
    if done.returncode:
        raise RunFailed(f"C-GET: exit {done.returncode}: {last_line(done.stdout + done.stderr)}")
    _expected(receiver, count)
    return json.loads(done.stdout)["seconds"]


def _expected(receiver, count):
    if receiver.stored() != count:
        raise RunFailed(f"{count} instances were asked for, {receiver.stored()} came")
    _emptied(receiver)
    return count


def _emptied(receiver):
    for path in receiver.site.folder.iterdir():
        path.unlink()


def rebuild(ground, server, count):
    """Files per second that `scpd index rebuild` writes down, its start included, and the same for each core."""
    with serving(ground, server) as running:
        load(running, "store", data="small", count=count)
        running.stop()
        shutil.rmtree(running.site.folder / ".index")
        command = [sys.executable, "-m", "scpd", "index", "rebuild", str(running.site.config)]
        begin = time.monotonic()
        done = run(command, COMMAND_TIMEOUT)
        elapsed = time.monotonic() - begin
        if done.returncode:
            raise RunFailed(f"scpd index rebuild: exit {done.returncode}: {last_line(done.stderr)}")
        if running.indexed() != count:
            raise RunFailed(f"{count} files are in the folder, {running.indexed()} were written down")
        return {"rate": count / elapsed, "core": count / elapsed / len(os.sched_getaffinity(0))}
