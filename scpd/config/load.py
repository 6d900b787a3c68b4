"""A file → a valid :class:`Config`, or every fault at once, each with its line.

The walk: read, parse, validate what stands at the top, lay each server over it, validate each server, compare
the servers with each other. A part with faults does not keep the rest from being looked at.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scpd.config.distinct import Stated, clashes, occupied
from scpd.config.document import Document, parse, read
from scpd.config.faults import Fault, KeyPath, Unreadable, dotted, sentences
from scpd.config.merge import Layer, server_layers, top_layer
from scpd.config.model import DEFAULT, PROCESS_KEYS, Config, ConfigFile, Origins, Places
from scpd.config.server import ServerConfig
from scpd.config.validate import Finding, validate
from scpd.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of the file, or the embedded default without one.

    Raises :class:`ConfigurationError` with every fault.
    """
    if path is None:
        return build(Document(DEFAULT))
    try:
        document = parse(read(path), str(path), environ)
    except Unreadable as error:
        raise ConfigurationError(sentences([error.fault], str(path))) from None
    return build(document)


def build(document: Document) -> Config:
    """The configuration that a document states. Raises :class:`ConfigurationError`."""
    faults = list(document.faults)
    top = top_layer(document, PROCESS_KEYS)
    shared = {key: value for key, value in document.data.items() if key != "servers"}
    file, findings = validate(ConfigFile, shared)
    faults += _placed(findings, document, Layer(shared, {path: path for path in document.lines}))
    layers, wrong = server_layers(document, top)
    faults += wrong
    stated: list[Stated] = []
    for layer in layers:
        server, findings = validate(ServerConfig, layer.data)
        own = [each for each in findings if layer.origin(each.path)[:1] == ("servers",)]  # the rest is told already
        faults += _placed(own, document, layer)
        stated += [Stated(server, layer)] if server else []
    faults += clashes(stated, document)
    faults += occupied(file.admin if file else None, stated, document)
    if faults or file is None:
        raise ConfigurationError(sentences(faults, document.file))
    process = {key: getattr(file, key) for key in PROCESS_KEYS if key != "servers"}
    return Config(servers=tuple(each.server for each in stated), **process, places=_places(document, stated))


def _placed(findings: Iterable[Finding], document: Document, layer: Layer) -> Iterator[Fault]:
    """Findings in the data → faults in the file; what the document already complained of is left out."""
    for finding in findings:
        path = layer.origin(finding.path)
        if path not in document.spoiled:
            yield Fault(document.lines[path], dotted(path), _discreet(finding, document, path))


def _discreet(finding: Finding, document: Document, path: KeyPath) -> str:
    """A sentence that never repeats what a secret's file holds."""
    reference = document.references.get(path)
    if reference is None or not finding.tells_value:
        return finding.what
    return f"what {reference} holds is no valid value here; mend the file (its content is not shown)"


def _places(document: Document, stated: Iterable[Stated]) -> Places:
    process = {path: path for path in document.lines if path and path[0] in PROCESS_KEYS}
    servers = tuple(_origins(document, each.layer.origins) for each in stated)
    return Places(document.file, _origins(document, process), servers)


def _origins(document: Document, origins: Mapping[KeyPath, KeyPath]) -> Origins:
    known = {path: origin for path, origin in origins.items() if origin in document.lines}
    return Origins(
        {dotted(path): document.lines[origin] for path, origin in known.items()},
        {path: document.references[origin] for path, origin in known.items() if origin in document.references},
    )
