"""The notification service: the board and one's own rank, pushed over WebSockets.

    app          wires the process together          endpoints    the WebSocket route
    service      who may connect, and for how long   repository   what it reads of the database
    models       messages of the protocol            protocol     parsing and frames (pure)
    hub          ticks: what changed, for whom       connection   one socket: pending frames, sender

The board is `scoreboard.kit.board`, the same index the score service answers from.
"""
