"""Measurements, printed and never asserted: ``up`` is what `make bench-up` runs."""
