"""The Application Entity for Python programs: the same server and client underneath, with pydicom's data sets."""
