"""Revisions, oldest first: expand in one release, contract in a later one."""
