"""Apache Kafka in KRaft mode: one combined broker and controller per zone, and its topics.

``desired``        StatefulSets, Services, the budget and the ConfigMap
``broker_config``  server.properties
``observe``        what the brokers say: who takes part, topics, users, permissions
``state``          that as data, and what of it is not as wanted
``topics``         topics: wanted, actual, and the changes between them
``access``         the same for users and permissions
``steps``          the writes to Kafka
``roll``           which broker may restart now
``status``         KafkaReady and the table of topics
``admin``          the admin client; ``quorum`` the one question it cannot ask
"""

from scoreboard_operator.components.base import Component
from scoreboard_operator.components.kafka import desired, observe, roll, status, steps

COMPONENT = Component(
    name="kafka",
    condition="KafkaReady",
    after=("CertificatesReady",),
    desired=desired.desired,
    observe=observe.observe,
    steps=steps.steps,
    status=status.status,
    hold=roll.hold,
)
