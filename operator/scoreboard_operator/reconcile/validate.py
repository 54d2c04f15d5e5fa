"""From the resource as users wrote it to a Board, or to what they must mend. (Pure.)

The schema and its CEL rules have refused most bad input already. What only the cluster can tell
is found here: zones without nodes, volumes kept from a former Scoreboard that do not fit, and a
resource that an older, laxer schema let in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from scoreboard_operator.api import BOARD_LABEL
from scoreboard_operator.api.data import BUCKETS
from scoreboard_operator.api.scoreboard import ScoreboardSpec
from scoreboard_operator.components.base import (
    ZONE_LABEL,
    Board,
    ImageSet,
    Object,
    UserError,
)
from scoreboard_operator.components.build.labels import SHARD, ZONE


def board_of(
    resource: Object,
    nodes: Iterable[Object],
    children: Mapping[tuple[str, str], Object],
    default_images: ImageSet,
) -> Board:
    """The Board of a Scoreboard resource.

    Raises:
        UserError: the spec is invalid (``InvalidSpec``) or names a zone no node is in
            (``ZoneNotFound``), the cluster has too few zones (``TooFewZones``), or volumes that
            were kept belong to other shards or zones (``ShardsDiffer``, ``ZonesDiffer``).
    """
    meta = resource["metadata"]
    try:
        spec = ScoreboardSpec.model_validate(resource.get("spec") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError("InvalidSpec", f"spec.{where}: {first['msg']}") from error
    zones = _zones(spec, resource, nodes, children)
    _check_kept_zones(zones, resource, children)
    _check_kept_shards(spec.database.shards, resource, children)
    return Board(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        generation=meta["generation"],
        spec=spec,
        zones=zones,
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
        and (zone := live["metadata"].get("labels", {}).get(ZONE))
    }
    return tuple(sorted(found))


def _check_kept_zones(
    zones: tuple[str, ...], resource: Object, children: Mapping[tuple[str, str], Object]
) -> None:
    """Refuse volumes in zones this board does not use: their members would never come back."""
    there = {zone for claim in _claims(children) if (zone := _label(claim, ZONE))}
    if there <= set(zones):
        return
    found = ", ".join(sorted(there))
    mend = f"set spec.zones to [{found}]" if len(there) in (1, 3) else "move them"
    raise UserError(
        "ZonesDiffer",
        f"spec.zones: data volumes kept from an earlier Scoreboard of this name are in {found}, but"
        f" {', '.join(zones)} {'is' if len(zones) == 1 else 'are'} to be used: {mend},"
        f" or {_start_empty(resource)}",
    )


def _check_kept_shards(
    shards: int, resource: Object, children: Mapping[tuple[str, str], Object]
) -> None:
    """Refuse volumes of another number of shards, where most users would not be found again.

    A board that is being created has volumes of some of its shards only, too. What tells it from a
    smaller one that was kept: it has StatefulSets of its own (they make the volumes), and its
    volumes are younger than itself. Either is enough, so that neither an operator that starts in
    the middle nor StatefulSets deleted by hand look like a board that was kept.
    """
    claims = [
        claim
        for claim in _claims(children)
        if (_label(claim, SHARD) or "").isdigit()
        and _label(claim, "app.kubernetes.io/component") == "database"
    ]
    there = {int(_label(claim, SHARD) or 0) for claim in claims}
    if not there or there == set(range(shards)):
        return
    if max(there) < shards:
        # A gap, or a number of shards nobody can ask for, is no whole smaller board: its missing
        # volumes were deleted, and this very spec is the right one for the others.
        whole = there == set(range(len(there))) and BUCKETS % len(there) == 0
        if not whole or _has_own_members(resource, children) or _younger(claims, resource):
            return
    count = max(there) + 1
    mend = f"set spec.database.shards to {count}" if BUCKETS % count == 0 else "keep all of them"
    raise UserError(
        "ShardsDiffer",
        f"spec.database.shards: data volumes kept from an earlier Scoreboard of this name hold"
        f" {count} shard{'s' if count > 1 else ''}, but the spec asks for {shards}: {mend},"
        f" or {_start_empty(resource)}",
    )


def _claims(children: Mapping[tuple[str, str], Object]) -> list[Object]:
    """Volumes that are there to stay."""
    return [
        live
        for (kind, _), live in children.items()
        if kind == "PersistentVolumeClaim" and not live["metadata"].get("deletionTimestamp")
    ]


def _has_own_members(resource: Object, children: Mapping[tuple[str, str], Object]) -> bool:
    """Whether StatefulSets of the database exist that are this very board's.

    By uid: those of a former board of the name may take a while to go.
    """
    uid = resource["metadata"]["uid"]
    return any(
        kind == "StatefulSet"
        and _label(live, SHARD) is not None
        and any(owner.get("uid") == uid for owner in live["metadata"].get("ownerReferences", []))
        for (kind, _), live in children.items()
    )


def _younger(claims: Iterable[Object], resource: Object) -> bool:
    """Whether some of the volumes came after the board (RFC 3339 in UTC sorts as text)."""
    born = str(resource["metadata"].get("creationTimestamp", ""))
    return any(str(claim["metadata"].get("creationTimestamp", "")) > born for claim in claims)


def _label(live: Object, name: str) -> str | None:
    value = live["metadata"].get("labels", {}).get(name)
    return None if value is None else str(value)


def _start_empty(resource: Object) -> str:
    """The other mend: volumes and Patroni's records, which only make sense together."""
    meta = resource["metadata"]
    selected = f"-l {BOARD_LABEL}={meta['name']}"
    return f"start empty: kubectl -n {meta['namespace']} delete pvc,configmap {selected}"


def _images(spec: ScoreboardSpec, defaults: ImageSet) -> ImageSet:
    chosen = spec.images
    return ImageSet(
        scoreboard=chosen.scoreboard or defaults.scoreboard,
        postgres=chosen.postgres or defaults.postgres,
        kafka=chosen.kafka or defaults.kafka,
        redis=chosen.redis or defaults.redis,
        envoy=chosen.envoy or defaults.envoy,
    )
