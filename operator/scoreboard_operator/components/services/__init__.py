"""The three services: score, user and notification, a Deployment for each in every zone.

``definition``  what tells them apart
``desired``     Deployments, Services, budgets, accounts; the score service's rules
``observe``     nothing beyond the API server: readiness is the kubelet's finding
``steps``       none: they consist of objects only
``rollout``     a new image waits for its schema
``status``      ScoreServiceReady, UserServiceReady, NotificationServiceReady
"""

from functools import partial

from scoreboard_operator.components.base import Component
from scoreboard_operator.components.services import desired, observe, rollout, status, steps
from scoreboard_operator.components.services.definition import DEFINITIONS, Definition

AFTER = ("CertificatesReady", "DatabaseReady", "KafkaReady", "CacheReady")


def _component(definition: Definition) -> Component:
    return Component(
        name=definition.name,
        condition=definition.condition,
        desired=partial(desired.desired, definition),
        status=partial(status.status, definition),
        observe=observe.observe,
        steps=steps.steps,
        after=AFTER,
        gate=rollout.gate,
    )


COMPONENTS: tuple[Component, ...] = tuple(_component(each) for each in DEFINITIONS)
