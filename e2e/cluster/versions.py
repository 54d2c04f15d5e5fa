"""Every version of what the cluster is made of, in one place."""

from __future__ import annotations

from .gobuild import Program

KUBERNETES = "v1.36.3"

KIND = Program("kind", "sigs.k8s.io/kind", "v0.33.0")
HELM = Program("helm", "helm.sh/helm/v4", "v4.3.1", package="cmd/helm")

_CONTAINERD = ("github.com/containerd/containerd/v2", "v2.4.2")
_TAGS = "no_aufs no_zfs no_btrfs no_devmapper"
CONTAINERD = tuple(
    Program(name, *_CONTAINERD, package=f"cmd/{name}", tags=_TAGS)
    for name in ("containerd", "ctr", "containerd-shim-runc-v2")
)
COREDNS = Program("coredns", "github.com/coredns/coredns", "v1.14.7")
PROVISIONER = Program(
    "local-path-provisioner", "github.com/rancher/local-path-provisioner", "v0.0.30"
)
NODE_PROGRAMS = (*CONTAINERD, COREDNS, PROVISIONER)
