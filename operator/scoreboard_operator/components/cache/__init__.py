"""The Redis Cluster: one pair of nodes per slot range, pinned to zones, healed by the operator.

``layout``       which pods there are and what each should serve; what was seen of them
``node_config``  redis.conf, live settings and ACL rules
``desired``      the Kubernetes objects
``client``       a short connection to one node
``observe``      what every node says of itself and the others
``acquaintance`` who knows whom, read from the nodes' tables
``topology``     pure planning: from what was seen to the operations that mend it
``steps``        the operations as steps
``status``       the CacheReady condition, the node table, and when a zone may restart
"""

from scoreboard_operator.components.base import Component
from scoreboard_operator.components.cache.desired import desired
from scoreboard_operator.components.cache.observe import observe
from scoreboard_operator.components.cache.status import hold, status
from scoreboard_operator.components.cache.steps import steps

COMPONENT = Component(
    name="cache",
    condition="CacheReady",
    after=("CertificatesReady",),
    desired=desired,
    observe=observe,
    steps=steps,
    status=status,
    hold=hold,
)

__all__ = ["COMPONENT"]
