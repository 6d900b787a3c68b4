"""The program on scpd's Application Entity that is measured: python library.py PORT FOLDER."""

import sys

from scpd import AE, AllStoragePresentationContexts, evt
from scpd.sop_class import Verification

port, folder = int(sys.argv[1]), sys.argv[2]


def store(event):
    event.write(f"{folder}/{event.request.AffectedSOPInstanceUID}.dcm")
    return 0x0000


ae = AE()
ae.supported_contexts = AllStoragePresentationContexts
ae.add_supported_context(Verification)
ae.maximum_associations = 2000
ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])
