"""PostgreSQL 17 with Patroni: ``shards`` clusters with one member per zone.

desired     the objects: members, Services, budgets, access, shard map, migration Jobs
patroni     Patroni's and PostgreSQL's settings
migrations  the Jobs that bring each shard to the newest schema
observe     who leads, who streams, how far behind; rest and roles are how it asks
rolling     which member may be replaced next
account     members whose ServiceAccount was replaced under them
steps       labels, roles, settings, restarts, switchovers
status      the condition and the shards table

Patroni's own ConfigMaps (``names.patroni_maps``) have no owner reference: they belong to the data
volumes and must stay or go together with them, or a shard refuses data it does not know.
"""

from scoreboard_operator.components.base import Component
from scoreboard_operator.components.database.desired import desired
from scoreboard_operator.components.database.observe import observe
from scoreboard_operator.components.database.rolling import hold
from scoreboard_operator.components.database.status import status
from scoreboard_operator.components.database.steps import steps

COMPONENT = Component(
    name="database",
    condition="DatabaseReady",
    after=("CertificatesReady",),
    desired=desired,
    observe=observe,
    steps=steps,
    status=status,
    hold=hold,
)

__all__ = ["COMPONENT"]
