"""The gateway: Envoy, the one entry point, a Deployment for each zone.

``desired``       Deployments, Service, budget, and the configuration as ConfigMaps
``envoy_config``  the Envoy bootstrap from a ``settings`` value; its parts, in a request's order:
                  ``listeners`` -> ``filters`` -> ``routes`` -> ``clusters``, and ``replies``
``observe``       nothing beyond the API server
``steps``         none: it consists of objects only
``status``        GatewayReady, and where the gateway is reached
"""

from scoreboard_operator.components.base import Component
from scoreboard_operator.components.gateway import desired, observe, status, steps

COMPONENT = Component(
    name="gateway",
    condition="GatewayReady",
    desired=desired.desired,
    status=status.status,
    observe=observe.observe,
    steps=steps.steps,
    after=("CertificatesReady",),
)
