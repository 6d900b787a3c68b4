"""The DICOM Conformance Statement of a configuration (PS3.2): one document, written as Markdown or as HTML.

Everything in it comes from the configuration and from the tables that the daemon itself works with, so that it says
what this very daemon does. Refuses to open anything, and to ask anybody.
"""
