"""Retrieval (PS3.4 C.4.2, C.4.3): what is held goes out again, as the C-STORE sub-operations of a C-MOVE or C-GET.

One service for both. They differ in the associations that the instances go over: those to a destination, or the one
that asked.
"""
