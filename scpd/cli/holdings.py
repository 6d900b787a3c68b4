"""``scpd index list``: how much is held, and which studies came last."""

from __future__ import annotations

import argparse
import json
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from scpd.cli import answers
from scpd.cli.main import FINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scpd.cli.kept import Kept
    from scpd.index.contents import StoreContents, StudyContents

_MOST = 100
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--studies", action="store_true", help="name the studies too, what came last first")
    parser.add_argument(
        "--most", metavar="N", type=_count, default=_MOST, help=f"name no more than N studies (default {_MOST})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of studies; write 1 or more")
    return int(text)


def run(args: argparse.Namespace, indexes: Sequence[Kept]) -> int:
    most = args.most if args.studies else 0
    if args.json:
        answers.say(json.dumps({"indexes": [_in_json(one, most) for one in indexes]}, indent=2))
    else:
        for one in indexes:
            _tell(one, most)
    return FINE


@contextmanager
def _held(kept: Kept, most: int) -> Iterator[Iterator[StoreContents | StudyContents]]:
    """The stores, then the studies that came last."""
    from scpd.index.contents import by_store, check, latest_studies  # noqa: PLC0415 what needs a database is late

    with kept.made() as index:
        check(index)
        yield chain(by_store(index), latest_studies(index, most) if most else ())


def _tell(kept: Kept, most: int) -> None:
    with _held(kept, most) as held:
        answers.say(kept.name)
        for one in held:
            answers.say(f"  {answers.harmless(_line(one))}")


def _line(one: StoreContents | StudyContents) -> str:
    from scpd.index.contents import StoreContents  # noqa: PLC0415 as above

    return _store(one) if isinstance(one, StoreContents) else _study(one)


def _store(one: StoreContents) -> str:
    counts = (f"{one.patients} patients", f"{one.studies} studies", f"{one.series} series")
    return f"{one.directory}: {', '.join(counts)}, {one.instances} instances, {shown_size(one.size)}"


def _study(one: StudyContents) -> str:
    whose = (one.patient_id or "(no ID)", one.patient_name or "(no name)", one.date or "(no date)")
    what = (",".join(one.modalities) or "(no modality)", f"{one.instances} instances", shown_size(one.size))
    return "  ".join((_when(one.received).strftime("%Y-%m-%d %H:%M:%S"), *whose, *what, one.study_instance_uid))


def _in_json(kept: Kept, most: int) -> dict[str, Any]:
    stores: list[dict[str, Any]] = []
    studies: list[dict[str, Any]] = []
    with _held(kept, most) as held:
        for one in held:
            told = one._asdict()
            if "received" in told:
                studies.append({**told, "received": _when(told["received"]).isoformat()})
            else:
                stores.append(told)
    return {"index": kept.name, "stores": stores, **({"studies": studies} if most else {})}


def _when(moment: float) -> datetime:
    return datetime.fromtimestamp(moment).astimezone()


def shown_size(size: int) -> str:
    """A number of bytes, for people."""
    if size < 1024:
        return f"{size} bytes"
    power = min(len(_UNITS), (size.bit_length() - 1) // 10)
    return f"{size / 1024**power:.1f} {_UNITS[power - 1]}"
