"""Sends every file of a folder with the SCU of scpd or of pynetdicom, as a program would: python scu.py WHICH PORT FOLDER.

Prints how many were stored, and per second once the association is there.
"""

import importlib
import json
import sys
import time
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian

which, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
library = importlib.import_module(which)
CTImageStorage = importlib.import_module(f"{which}.sop_class").CTImageStorage
files = sorted(folder.iterdir())

ae = library.AE()
ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
association = ae.associate("127.0.0.1", port)
begin = time.monotonic()
stored = 0
for path in files:
    if which == "pynetdicom":  # its reactor thread takes a response that comes at once from whoever waits for it
        while association._is_paused:
            time.sleep(0)
    status = association.send_c_store(path)
    stored += "Status" in status and status.Status == 0
elapsed = time.monotonic() - begin
association.release()
print(json.dumps({"stored": stored, "per_s": len(files) / elapsed}))
