"""From whatever is on this machine to a Scoreboard in three zones, and back.

In the order of `make up`:

* `engine`       a Docker engine that answers, installed and started if need be
* `base_images`  the Debian images everything is built on, pulled or made by debootstrap
* `node_image`   the nodes' image, pulled or built (`gobuild`, `versions`, the files in `node/`)
* `tools`        kind, kubectl and helm
* `kind`         the cluster: created, repaired or replaced (`config` says what it is)
* `images`       what each of our images is built from; `builder` builds and loads (`archive`)
* `install`      the operator, by its chart
* `demo`         the sample and a player; `diagnosis` when it does not become ready

`cli` has the commands, `check` is `make test`, `overview` is `make status` and `make logs`. Below
all of them: `paths`, `progress`, `shell`, `kube` and `host` (this machine's settings).
"""
