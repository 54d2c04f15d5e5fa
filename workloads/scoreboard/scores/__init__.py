"""The score service: durable score writes, exact ranks, the leaderboard.

    app          wires the process together         endpoints    HTTP in and out
    service      what a write and a read mean       repository   SQL
    models       shapes that cross those borders    rules        what a change may be (pure)
    batches      which writes commit together       pages        leaderboard bytes (pure)

The order itself is `scoreboard.kit.ranking`; the notification service keeps the same board.
"""
