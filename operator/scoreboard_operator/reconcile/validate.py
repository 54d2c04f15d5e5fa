"""From the resource as users wrote it to a Board, or to what they must mend. (Pure.)

The schema and its CEL rules have refused most bad input already. What only the cluster can tell
is found here: zones without nodes, and a resource that an older, laxer schema let in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from scoreboard_operator.api.scoreboard import ScoreboardSpec
from scoreboard_operator.components.base import (
    ZONE_LABEL,
    Board,
    ImageSet,
    Object,
    UserError,
)


def board_of(
    resource: Object,
    nodes: Iterable[Object],
    children: Mapping[tuple[str, str], Object],
    default_images: ImageSet,
) -> Board:
    """The Board of a Scoreboard resource.

    Raises:
        UserError: the spec is invalid (``InvalidSpec``) or names a zone no node is in
            (``ZoneNotFound``), or the cluster has too few zones (``TooFewZones``).
    """
    meta = resource["metadata"]
    try:
        spec = ScoreboardSpec.model_validate(resource.get("spec") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError("InvalidSpec", f"spec.{where}: {first['msg']}") from error
    return Board(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        generation=meta["generation"],
        spec=spec,
        zones=_zones(spec, resource, nodes, children),
        images=_images(spec, default_images),
    )


def _zones(
    spec: ScoreboardSpec,
    resource: Object,
    nodes: Iterable[Object],
    children: Mapping[tuple[str, str], Object],
) -> tuple[str, ...]:
    """The zones of the spec; else those chosen before; else the first three of the cluster.

    Zones once chosen stay: volumes are bound to them. They are read from status and, should that
    be lost (a restore by GitOps), from the database's StatefulSets and volumes.
    """
    present = {
        zone for node in nodes if (zone := node["metadata"].get("labels", {}).get(ZONE_LABEL))
    }
    running = _zones_in_use(children)
    if spec.zones is not None:
        chosen = tuple(spec.zones)
        missing = [zone for zone in chosen if zone not in present]
        # A zone whose node went away after creation is a fault to ride out, not a bad spec.
        if missing and not set(missing) <= set(running):
            raise UserError(
                "ZoneNotFound",
                f"spec.zones: no node is labelled {ZONE_LABEL}={missing[0]};"
                f" the cluster has {', '.join(sorted(present)) or 'no zones'}",
            )
        return chosen
    recorded = tuple(zone["name"] for zone in resource.get("status", {}).get("zones", []))
    if len(recorded) in (1, 3):
        return recorded
    if len(running) == 3:
        return running
    if len(present) < 3:
        raise UserError(
            "TooFewZones",
            f"spec.zones is not set and the cluster has {len(present)} zones"
            f" ({', '.join(sorted(present)) or 'none'}): label nodes of three zones with"
            f" {ZONE_LABEL}, or name one zone in spec.zones",
        )
    return tuple(sorted(present)[:3])


def _zones_in_use(children: Mapping[tuple[str, str], Object]) -> tuple[str, ...]:
    """Zones that already hold members or volumes, in name order."""
    found = {
        zone
        for (kind, _), live in children.items()
        if kind in ("StatefulSet", "PersistentVolumeClaim")
        and (zone := live["metadata"].get("labels", {}).get("scoreboard.dev/zone"))
    }
    return tuple(sorted(found))


def _images(spec: ScoreboardSpec, defaults: ImageSet) -> ImageSet:
    chosen = spec.images
    return ImageSet(
        scoreboard=chosen.scoreboard or defaults.scoreboard,
        postgres=chosen.postgres or defaults.postgres,
        kafka=chosen.kafka or defaults.kafka,
        redis=chosen.redis or defaults.redis,
        envoy=chosen.envoy or defaults.envoy,
    )
