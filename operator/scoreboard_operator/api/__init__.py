"""What users write and read: the Scoreboard resource as pydantic models.

``scoreboard``  the spec and its sections, with every default
``data``        the sections of the data layer: database, kafka, cache
``serving``     the sections of the serving layer: services, gateway, rules
``status``      what the operator reports back
``schema``      turns the models into the CustomResourceDefinition (``crds/``)
``reference``   turns the models into ``docs/reference.md``
"""

GROUP = "scoreboard.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "Scoreboard"
PLURAL = "scoreboards"

MANAGED_BY = "scoreboard-operator"
"""Value of ``app.kubernetes.io/managed-by`` on everything of a Scoreboard; the watch selector."""

BOARD_LABEL = "scoreboard.dev/scoreboard"
"""Label that names the Scoreboard an object belongs to."""
