"""Instances on disk: where they go, how they get there without ever being half there (PS3.10).

Knows no network and no service: a service tells it what came, and what came of it is an error with a status.
"""
