#!/bin/sh
# Formats the storage once, then becomes the broker. Everything else is in server.properties, which
# the operator writes; what differs per broker comes in by variables (NODE_ID, ZONE, POD_HOST).
#
#   KAFKA_CONFIG       server.properties        default /etc/scoreboard/kafka/server.properties
#   KAFKA_CREDENTIALS  folder with cluster-id and admin-password   default /etc/scoreboard/credentials
#   KAFKA_HEAP         largest Java heap        default 192m
#   KAFKA_JVM_OPTS     more options of the JVM  default none
set -eu

config=${KAFKA_CONFIG:-/etc/scoreboard/kafka/server.properties}
credentials=${KAFKA_CREDENTIALS:-/etc/scoreboard/credentials}
heap=${KAFKA_HEAP:-192m}
export MALLOC_ARENA_MAX=2 # glibc's arenas per thread would cost more than the heap saves

data=$(sed -n 's/^log\.dirs=//p' "$config")
cluster=$(cat "$credentials/cluster-id")

# meta.properties is the last file a format writes, so its presence means a whole one.
if [ ! -f "$data/meta.properties" ]; then
  mkdir -p "$data"
  # An argument file, because a command line can be read by every process of the container.
  arguments=$(mktemp /tmp/format.XXXXXX)
  chmod 600 "$arguments"
  printf '%s\n' kafka.tools.StorageTool format --ignore-formatted -t "$cluster" -c "$config" \
    --add-scram "SCRAM-SHA-512=[name=admin,password=$(cat "$credentials/admin-password")]" > "$arguments"
  java @/opt/kafka/jvm.options -Xmx96m "@$arguments"
  rm -f "$arguments"
fi

# shellcheck disable=SC2086  several options may be in one variable
exec java @/opt/kafka/jvm.options "-Xmx$heap" ${KAFKA_JVM_OPTS:-} kafka.Kafka "$config"
