"""``scpd expiring CONFIG``: what retention would delete now, and what it holds back; deletes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.cli.answers import harmless, say
from scpd.cli.main import FINE
from scpd.config import load
from scpd.config.values import SIZE_UNITS
from scpd.daemon.expiring import Look, looks

if TYPE_CHECKING:
    import argparse

    from scpd.retention.judging import Verdict


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration file")
    parser.add_argument("--server", metavar="NAME", help="only the store of this server")
    parser.add_argument("--json", action="store_true", help="an object for each study, a line each")


def run(args: argparse.Namespace) -> int:
    for look in looks(load(args.config), args.server):
        if args.json:
            for verdict in look.due:
                say(_in_json(look, verdict))
        else:
            _tell(look)
    return FINE


def _tell(look: Look) -> None:
    say(f"{', '.join(look.servers)}: {look.directory}, {_size(look.free)} free")
    going = kept = instances = size = 0
    for verdict in look.due:
        say(f"  {_line(verdict)}")
        if verdict.why:
            kept += 1
        else:
            going, instances, size = going + 1, instances + verdict.study.instances, size + verdict.study.size
    say(f"  {going} studies would go: {instances} instances, {_size(size)}; {kept} are kept back")


def _line(verdict: Verdict) -> str:
    study, rule = verdict.study, verdict.rule
    facts = f"{harmless(study.uid)}  {study.instances} instances  {_size(study.size)}  last {_moment(study.last)}"
    kept = f"  kept back: {verdict.why}" if verdict.why else ""
    return f"{facts}  by {rule.name} ({rule.place}){kept}"


def _in_json(look: Look, verdict: Verdict) -> str:
    study, rule = verdict.study, verdict.rule
    return json.dumps(
        {
            "servers": list(look.servers),
            "directory": look.directory,
            "study": study.uid,
            "instances": study.instances,
            "bytes": study.size,
            "last": _moment(study.last),
            "rule": rule.name,
            "where": rule.place,
            "kept_back": verdict.why or None,
        }
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _size(count: int) -> str:
    unit, factor = next(((one, each) for one, each in SIZE_UNITS.items() if count >= each), ("bytes", 1))
    return f"{count / factor:.1f} {unit}" if factor > 1 else f"{count} {unit}"
