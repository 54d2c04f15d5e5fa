"""Keys, certificates and passwords: every secret of a Scoreboard, generated once and kept.

``inventory``  which Secrets there are and what is in them
``authority``  the board's certificate authority and its leaf certificates
``checks``     whether existing values can be used
``generate``   passwords, signing keys, cluster ids
``desired``    Secrets: existing values are kept, missing ones made
``status``     the CertificatesReady condition
"""

from scoreboard_operator.components.base import Component
from scoreboard_operator.components.certificates import desired, status

COMPONENT = Component(
    name="certificates",
    condition="CertificatesReady",
    desired=desired.desired,
    status=status.status,
)
