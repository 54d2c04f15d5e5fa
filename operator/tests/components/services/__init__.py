"""Tests of the services component."""
