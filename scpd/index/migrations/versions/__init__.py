"""The steps: each module one, named by its number and what it brings."""
