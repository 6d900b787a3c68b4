"""Real components for tests: each module starts one for itself, on free loopback ports and in a temporary folder."""
