"""The SCP: listeners, one worker thread per connection, and how many of each there may be.

Knows rooms, not settings: what it is to do comes in as values and callables. It has never heard of YAML.
"""
