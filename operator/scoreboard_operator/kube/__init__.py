"""Talking to the Kubernetes API server.

``kinds``    which resources exist and where they live
``client``   requests: server-side apply, patch, delete, watch, each counted
``cache``    a watch cache of everything that carries a board's label
``lease``    leader election
``events``   Events on transitions
"""
