"""The SCU side: associations that we ask for, and what is done over them.

Knows no command line and no configuration; what it sends it reads from files as they are.
"""
