"""Tests of the kafka component."""
