"""Write the data sets that dimseload sends: NAME.bin (raw data set) and NAME.args (dimseload's keys for it).

Usage: python datasets.py OUTDIR     (needs pydicom)
Headers come from pydicom's own CT_small.dcm, so they are as rich as a real scanner's.
"""

import sys
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

OUT = Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
ROOT = "1.2.826.0.1.3680043.9.7777."


def uid(kind):  # 60 characters, the last 12 of them a counter
    head = f"{ROOT}{kind}."
    return head + "1" * (60 - 12 - len(head)) + "0" * 12


def build(name, rows, cols, frames=1, sop="1.2.840.10008.5.1.4.1.1.2", pixels=True):
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.SOPClassUID = sop
    ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = uid(3), uid(2), uid(1)
    ds.PatientID, ds.PatientName, ds.AccessionNumber = "LOAD0001", "Load^Test", "A0001"
    ds.pop("DataSetTrailingPadding", None)
    if pixels:
        ds.Rows, ds.Columns = rows, cols
        if frames > 1:
            ds.NumberOfFrames = frames
        plane = bytes(range(256)) * (rows * cols * 2 // 256)
        ds["PixelData"].value = plane * frames
    else:
        del ds.PixelData
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    raw = buffer.getvalue()
    (OUT / f"{name}.bin").write_bytes(raw)
    places = {k: raw.index(u.encode()) for k, u in (("off", uid(3)), ("seoff", uid(2)), ("stoff", uid(1)))}
    args = f"file={OUT}/{name}.bin sop={sop} ts=1.2.840.10008.1.2.1 len=60 selen=60 stlen=60 "
    args += " ".join(f"{k}={v}" for k, v in places.items())
    (OUT / f"{name}.args").write_text(args + "\n")
    print(f"{name}: {len(raw)} bytes, {len(ds)} elements")


build("small", 0, 0, pixels=False)
build("mr", 256, 256, sop="1.2.840.10008.5.1.4.1.1.4")
build("ct", 512, 512)
build("big", 512, 512, frames=200)
