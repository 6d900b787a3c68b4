"""The text of a scalar → its value: the environment put in, a secret's file read, a plain word resolved.

Plain words resolve by fewer rules than YAML 1.1 has: true, false, null and decimal whole numbers. What YAML
makes of ``no``, ``on``, ``010`` or ``12:30`` stays the text that the sysadmin wrote. Knows no key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.config.faults import shown
from scpd.regular import content

if TYPE_CHECKING:
    from collections.abc import Mapping

# The most that a file: reference may bring in.
LONGEST_SECRET = 64 * 1024

_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_MARK = re.compile(r"(?P<literal>\$\$\{)|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\})?", re.ASCII)
_FILE = "file:"


@dataclass(frozen=True)
class Value:
    """What a scalar stands for, and the ``file:`` reference that it came from."""

    value: str | int | bool | None
    reference: str | None = None


def evaluate(text: str, environ: Mapping[str, str], *, plain: bool) -> Value:
    """The value of a scalar; ``plain`` is one without quotes.

    Raises :class:`ValueError` with the sentence for the sysadmin.
    """
    filled = substitute(text, environ)
    if not _is_unicode(filled):
        raise ValueError("the text is not Unicode; write it in UTF-8")
    if filled.startswith(_FILE):
        return Value(read_secret(filled), filled)
    return Value(resolve(filled) if plain else filled)


def resolve(text: str) -> str | int | bool | None:
    """What a word without quotes stands for.

    >>> [resolve(word) for word in ("true", "5", "no", "010")]
    [True, 5, 'no', '010']
    """
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _WHOLE.fullmatch(text) else text


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """``${NAME}`` and ``${NAME:-default}`` from the environment; ``$${`` is ``${`` itself.

    As in a shell, the default also stands in for an empty variable.
    """

    def put_in(mark: re.Match[str]) -> str:
        if mark["literal"]:
            return "${"
        if not mark["name"]:
            raise ValueError("'${' opens no variable; write ${NAME}, ${NAME:-default}, or $${ for the signs themselves")
        return _variable(mark["name"], mark["default"], environ)

    return _MARK.sub(put_in, text)


def _variable(name: str, default: str | None, environ: Mapping[str, str]) -> str:
    if default is not None:
        return environ.get(name) or default.removeprefix(":-")
    if name not in environ:
        raise ValueError(
            f"the environment has no {shown(name)}; set it, or write a default, as in ${{{name[:32]}:-default}}"
        )
    return environ[name]


def escape(text: str) -> str:
    """Text that :func:`substitute` leaves as this text."""
    return text.replace("${", "$${")


def read_secret(reference: str) -> str:
    """What stands in the file of a ``file:`` reference, without the newline at its end.

    Raises :class:`ValueError` with a sentence that names the file and never what it holds.
    """
    path = Path(reference.removeprefix(_FILE))
    if not path.is_absolute() or "\0" in reference:
        raise ValueError(f"{shown(reference)} is no absolute path; write one, as in file:/run/secrets/x")
    try:
        found = content(path, LONGEST_SECRET + 1)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); make it readable for the user scpd runs as"
        ) from None
    if len(found) > LONGEST_SECRET:
        raise ValueError(f"{path} is longer than {LONGEST_SECRET} bytes; name the file of one secret")
    return _secret_text(found, path)


def _secret_text(found: bytes, path: Path) -> str:
    try:
        text = found.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; write it as such") from None
    return text.removesuffix("\n").removesuffix("\r")


def _is_unicode(text: str) -> bool:
    """Half a surrogate pair comes from an environment that is no UTF-8, or from an escape in YAML."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
