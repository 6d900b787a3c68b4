"""The page about an instance: its picture, where there is one, and what else stands in its file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from scpd.admin.figures import several, size
from scpd.admin.frame import section
from scpd.admin.held.outline import facts, page, peer, trail
from scpd.admin.held.telling import line, person
from scpd.admin.markup import EMPTY, Markup, element, joined
from scpd.admin.table import Column, Row, none, nothing, table
from scpd.sop_class import uid_keyword

if TYPE_CHECKING:
    from scpd.admin.held.outline import Around, Ref
    from scpd.admin.held.viewer import Sheet
    from scpd.index.attributes import Attributes
    from scpd.index.query import Held


class Neighbours(NamedTuple):
    """The instances before and after, empty where there is none, and which one this is of how many."""

    before: str
    after: str
    number: int
    total: int


def instance(
    ref: Ref, one: Attributes, file: Held, sheet: Sheet, beside: Neighbours, frame: int, around: Around
) -> str:
    """An instance: its picture, where there is one, and what else stands in its file."""
    about = facts(
        ("Patient", joined(peer(person(one)), " ", element("small", peer(line(one, "PatientID"))))),
        ("Kind", peer(uid_keyword(file.sop_class_uid))),
        ("Transfer syntax", peer(uid_keyword(file.transfer_syntax_uid))),
        ("File", joined(element("code", file.path), f", {size(file.size)}")),
    )
    turn = [
        element("a", words, href=ref._replace(instance=other).address(), rel=rel)
        for words, other, rel in (("Instance before", beside.before, "prev"), ("Next instance", beside.after, "next"))
        if other
    ]
    place = f"Instance {beside.number:,} of {beside.total:,}" if beside.number else "Instance"
    return page(
        "Instance",
        around,
        trail(ref),
        section("instance", place, element("p", *turn, class_="more") if turn else EMPTY, about),
        section("picture", "Picture", _picture(ref, sheet, frame)),
        section("attributes", "Attributes", _attributes(sheet)),
    )


def _picture(ref: Ref, sheet: Sheet, frame: int) -> Markup:
    turn = _frames(ref, sheet.frames, frame) if sheet.frames > 1 else EMPTY
    if not sheet.png:
        why = sheet.no_picture
        return joined(turn, nothing(f"There is no picture: {why}{'' if why.endswith('.') else '.'}"))
    width, height = struct.unpack(">II", sheet.png[16:24])
    image = element(
        "img",
        src=ref.address("/held/picture.png", frame=frame),
        width=width,
        height=height,
        alt=f"Frame {frame} of {sheet.frames}" if sheet.frames > 1 else "The image",
    )
    thinned = "" if sheet.step == 1 else f" One row and column of {sheet.step} is shown."
    caption = element("figcaption", f"For a look, not for a diagnosis.{thinned}")
    return joined(turn, element("figure", image, caption, class_="picture"))


def _frames(ref: Ref, count: int, frame: int) -> Markup:
    turn = [
        element("a", words, href=ref.address(frame=number))
        for words, number in (("Frame before", frame - 1), ("Next frame", frame + 1))
        if 1 <= number <= count
    ]
    label = element("label", "Frame", for_="frame")
    field = element("input", type="number", name="frame", id="frame", min=1, max=count, value=frame, required=True)
    words = element("span", f"of {count:,}")
    show = element("button", "Show")
    form = element("form", ref.fields(), label, field, words, show, method="get", action="/held/instance")
    return element("div", *turn, form, class_="more")


def _attributes(sheet: Sheet) -> Markup:
    why = element("p", f"{sheet.why[:1].upper()}{sheet.why[1:]}.", class_="notice warn") if sheet.why else EMPTY
    if not sheet.attributes:
        return why or nothing("There are none.")
    columns = [Column("Tag", "short"), Column("Name", "long"), Column("VR", "short"), Column("Value", "long")]
    rows = [
        Row(
            (
                joined("> " * one.depth, element("code", f"({one.tag})")),
                peer(one.name) if one.name else none("unknown"),
                one.vr,
                peer(one.value),
            )
        )
        for one in sheet.attributes
    ]
    left_out = element("p", "There are more, which are not shown.") if sheet.left_out else EMPTY
    shown = table("What stands in the file before the pixel data", columns, rows)
    inner = element("details", element("summary", several(len(rows), "attribute")), shown, left_out, open=True)
    return joined(why, inner)
