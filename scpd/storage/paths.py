"""Path templates, and the one function that makes any text a safe name.

No text of a peer becomes a path but through :func:`safe_name`: bounded, unambiguous, without separators, control
characters, leading dots or names that some system reserves.
"""

from __future__ import annotations

import hashlib
import re
import string
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_VR, tag_for_keyword

from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_TEMPLATE = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
SOP_INSTANCE_UID = 0x00080018

# Text that one attribute contributes to a name; NAME_MAX of every usual file system is 255 bytes.
_LONGEST_VALUE = 100
_LONGEST_COMPONENT = 255
_SHORT_COMPONENT = _LONGEST_COMPONENT // 4  # characters that fit in any case: UTF-8 takes at most four bytes for one
_DIGEST = 16
_DEVICE = r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?"  # names that some systems keep for themselves
_RESERVED = re.compile(_DEVICE, re.ASCII | re.IGNORECASE | re.DOTALL)
_PLAIN = re.compile(rf"(?!{_DEVICE}$)[a-z0-9_][a-z0-9._^+=@,-]*(?<!\.)", re.ASCII | re.IGNORECASE)
_HARMLESS = frozenset(string.ascii_letters + string.digits + "._^+=@,-")
# Value representations whose values are short text (PS3.5 table 6.2-1), and the last group that identifies.
_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI"))
_LAST_TAG = 0x0020FFFF
_ASSOCIATION = ("calling", "called")
_SUGGESTED = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientID", "PatientName"),
    *("AccessionNumber", "Modality", "StudyDate", "StudyID", "SeriesNumber", "InstanceNumber", "calling"),
    *("called", "received"),
)


def safe_name(text: str) -> str:
    """``text`` as (part of) a file name: what is harmless stays, every other byte of its UTF-8 becomes ``%XX``.

    Letters of other scripts stay too. What is longer than 100 characters is cut and ends in a digest of the whole,
    so that two texts never get one name. An empty text gives an empty name.
    """
    if len(text) <= _LONGEST_VALUE and _PLAIN.fullmatch(text):
        return text
    text = _escape(text)
    return text if len(text.encode()) <= _LONGEST_VALUE else _cut(text, _LONGEST_VALUE)


def _escape(text: str) -> str:
    escaped = [
        character
        if character in _HARMLESS or (not character.isascii() and character.isalnum())
        else _percent(character)
        for character in text
    ]
    if not escaped:
        return ""
    if escaped[0] in ".-" or _RESERVED.fullmatch(text):
        escaped[0] = _percent(escaped[0])
    if escaped[-1] == ".":
        escaped[-1] = _percent(".")
    return "".join(escaped)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _cut(text: str, longest: int) -> str:
    raw = text.encode()
    digest = hashlib.sha256(raw).hexdigest()[:_DIGEST]
    return raw[: longest - _DIGEST - 1].decode(errors="ignore") + "~" + digest


def missing(keyword: str) -> str:
    """What stands in a path for an attribute that the data set does not have, or has empty."""
    return f"no-{keyword}"


class PathTemplate:
    """A path below the storage directory, as ``{StudyInstanceUID}/{Modality}/{SOPInstanceUID}.dcm``.

    Fields are keywords of identifying attributes (text, up to group 0020), ``{calling}`` and ``{called}`` (AE
    titles), and ``{received:FORMAT}`` (local time of receipt, by strftime). Raises :class:`ValueError` for anything
    else, and without ``{SOPInstanceUID}``: two instances must never share a file.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tags: dict[int, str] = {}
        self._parts: list[str | Callable[[Mapping[int, str], Mapping[str, str], datetime], str]] = []
        try:
            pieces = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{quote(text)} is not a path template: {error}; write {DEFAULT_TEMPLATE}") from None
        for literal, name, spec, conversion in pieces:
            if literal:
                self._parts.append(_check_literal(literal))
            if name is not None:
                if conversion:
                    raise ValueError(f"{{{name}!{conversion}}} has a conversion; write {{{name}}}")
                self._parts.append(self._field(name, spec or ""))
        if SOP_INSTANCE_UID not in self.tags:
            raise ValueError("the path lacks {SOPInstanceUID}, so two instances could get one file; add it")
        self._check_shape()

    def render(self, values: Mapping[int, str], association: Mapping[str, str], received: datetime) -> tuple[str, ...]:
        """The components of the path; ``values`` by tag, ``association`` with ``calling`` and ``called``."""
        text = "".join(part if isinstance(part, str) else part(values, association, received) for part in self._parts)
        return tuple(
            component if len(component) <= _SHORT_COMPONENT else _bounded(component) for component in text.split("/")
        )

    def _field(self, name: str, spec: str) -> Callable[[Mapping[int, str], Mapping[str, str], datetime], str]:
        if name == "received":
            form = spec or "%Y-%m-%d"
            return lambda _values, _association, received: received.strftime(form)
        if spec:
            raise ValueError(f"{{{name}:{spec}}} has a format; only {{received:…}} takes one, write {{{name}}}")
        if name in _ASSOCIATION:
            return lambda _values, association, _received: safe_name(association.get(name, "")) or missing(name)
        tag = _identifying(name)
        self.tags[tag] = name
        return lambda values, _association, _received: safe_name(values.get(tag, "")) or missing(name)

    def _check_shape(self) -> None:
        sample = dict.fromkeys(self.tags, "1")
        received = datetime(2001, 2, 3, 4, 5, 6)  # noqa: DTZ001 local time, as render gets it
        for component in self.render(sample, {"calling": "A", "called": "A"}, received):
            if not component or component.startswith((".", "-")) or not component.isprintable():
                raise ValueError(
                    f"{quote(self.text)} has an empty component, or one that begins with a dot or dash; "
                    f"write a relative path as {DEFAULT_TEMPLATE}"
                )


def _bounded(component: str) -> str:
    if len(component.encode()) <= _LONGEST_COMPONENT:
        return component
    stem, dot, suffix = component.rpartition(".")
    ending = dot + suffix if stem and len(suffix) <= 8 else ""
    return _cut(component, _LONGEST_COMPONENT - len(ending.encode())) + ending


def _check_literal(literal: str) -> str:
    if "\\" in literal or not literal.isprintable():
        raise ValueError(f"{quote(literal)} has a backslash or control character; write / between directories")
    return literal


def _identifying(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        near = get_close_matches(keyword, _SUGGESTED, 1, 0.5)
        remedy = f"did you mean {{{near[0]}}}?" if near else "write a keyword of PS3.6 as {PatientID}"
        raise ValueError(f"{{{keyword}}} is not an attribute; {remedy}")
    if tag > _LAST_TAG or tag >> 16 < 0x0008 or dictionary_VR(tag) not in _TEXT:
        raise ValueError(
            f"{{{keyword}}} is not an identifying attribute; write one of short text in groups 0008 to 0020"
        )
    return tag
