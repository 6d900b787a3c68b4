"""The service classes of PS3.4, one file each: a request in, replies out, one by one.

A service knows messages and what it serves them from; it has never heard of sockets, listeners or YAML. It raises or
returns, and never logs.
"""
