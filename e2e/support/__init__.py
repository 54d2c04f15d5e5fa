"""What the end-to-end tests, `e2e.play` and `e2e.bench` stand on.

``polling``  wait for a condition, never for a time
``cluster``  the Kubernetes API (pykube-ng) and `kubectl` where only it will do
``api``      a client of the public API as a game would have one, with request signing
``live``     one open WebSocket
``board``    one Scoreboard: its conditions, pods and Secrets, its gateway
``data``     what its databases, Kafka and Redis hold, asked inside the cluster
``metrics``  Prometheus text, and the operator's own numbers
``nodes``    what only a node can do: SIGKILL a container
``solo``     the one-zone Scoreboard that tests may break
"""
