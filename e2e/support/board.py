"""One Scoreboard as a test sees it: conditions, pods, Secrets, and its gateway."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from functools import cached_property

from e2e.support import cluster
from e2e.support.api import Gateway, Player
from e2e.support.cluster import Object
from e2e.support.live import Socket
from e2e.support.polling import Reached, eventually


@dataclass(frozen=True)
class BoardHandle:
    """A Scoreboard by namespace, name and the URL its gateway is reached at from here."""

    namespace: str
    name: str
    url: str

    def resource(self) -> Object:
        """The resource as it is now."""
        return cluster.need("Scoreboard", self.namespace, self.name)

    def conditions(self) -> dict[str, Object]:
        """Conditions by type."""
        return conditions_of(self.resource())

    def is_ready(self) -> bool:
        """Ready in the generation that is asked for now; AssertionError that says why not."""
        resource = self.resource()
        generation = resource["metadata"]["generation"]
        seen = resource.get("status", {}).get("observedGeneration")
        assert seen == generation, f"generation {generation} not seen yet, only {seen}"
        ready = conditions_of(resource).get("Ready", {})
        assert ready.get("status") == "True", f"{ready.get('reason')}: {ready.get('message')}"
        return True

    def wait_ready(self, limit: float = 300) -> Reached[bool]:
        """Wait for Ready."""
        return eventually(self.is_ready, f"{self.name} is Ready", limit=limit, every=0.5)

    def wait_stalled(self, reason: str = "", limit: float = 60) -> Object:
        """Wait for Stalled; returns the condition."""

        def stalled() -> Object:
            resource = self.resource()
            found = conditions_of(resource)["Stalled"]
            assert found["observedGeneration"] == resource["metadata"]["generation"]
            assert not reason or found["reason"] == reason, found
            return found

        return eventually(stalled, f"{self.name} is Stalled", limit=limit).value

    def patch(self, spec: Object) -> Object:
        """Merge-patch the spec."""
        return cluster.patch("Scoreboard", self.namespace, self.name, {"spec": spec})

    @property
    def selector(self) -> str:
        """Label selector of everything that belongs to this Scoreboard."""
        return f"scoreboard.dev/scoreboard={self.name}"

    def objects(self, kind: str) -> list[Object]:
        """Objects of a kind that carry this Scoreboard's label."""
        return cluster.listing(kind, self.namespace, self.selector)

    def pods(self, component: str = "", **labels: str) -> list[Object]:
        """Pods of a component, narrowed by ``zone=`` and ``shard=``, ordered by name."""
        wanted = {f"scoreboard.dev/{key}": value for key, value in labels.items()}
        if component:
            wanted["app.kubernetes.io/component"] = component
        found = [p for p in self.objects("Pod") if wanted.items() <= cluster.labels_of(p).items()]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def pod_uids(self) -> dict[str, tuple[str, int]]:
        """Pod name -> uid and restarts; not of Jobs, and not of pods on their way out."""
        return {
            pod["metadata"]["name"]: (
                pod["metadata"]["uid"],
                sum(s["restartCount"] for s in pod["status"].get("containerStatuses", [])),
            )
            for pod in self.pods()
            if pod["metadata"]["labels"]["app.kubernetes.io/component"] != "migrations"
            and not pod["metadata"].get("deletionTimestamp")
        }

    def secret(self, suffix: str) -> dict[str, bytes]:
        """Decoded content of the Secret NAME-``suffix``."""
        data = cluster.need("Secret", self.namespace, f"{self.name}-{suffix}")["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """TLS context that trusts this Scoreboard's own CA and nothing else."""
        return ssl.create_default_context(cadata=self.secret("ca")["ca.crt"].decode())

    @cached_property
    def gateway(self) -> Gateway:
        """The public API."""
        return Gateway(self.url, self.trust)

    def socket(self, player: Player) -> Socket:
        """An open WebSocket of a player."""
        return Socket(self.url, self.trust, player.session.access_token)


def conditions_of(resource: Object) -> dict[str, Object]:
    """Conditions of a resource by type."""
    return {c["type"]: c for c in resource.get("status", {}).get("conditions", [])}


DEMO = BoardHandle("demo", "demo", "https://127.0.0.1:8443")
