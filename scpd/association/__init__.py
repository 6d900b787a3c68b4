"""The upper layer's state machine (PS3.8 section 9.2), for both roles.

Takes what happened, gives what to do about it. No socket, no clock, no log: time comes in as an argument, bytes go
out as a result.
"""
