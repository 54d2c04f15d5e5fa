"""Alembic's script directory: ``env.py`` and the revisions, packaged so that no path is needed."""
