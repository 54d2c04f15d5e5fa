"""Tests of the cache component."""
