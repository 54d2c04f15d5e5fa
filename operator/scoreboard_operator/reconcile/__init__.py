"""One pass over one Scoreboard: observe -> validate -> plan -> apply -> status.

``validate``  the resource as users wrote it -> Board, or what they must mend
``observe``   snapshot of the cache, then every component's engine, side by side
``diff``      does a live object already hold what is wanted?
``plan``      pure: what to create, update, hold back, prune, and which steps to run; printable
``apply``     carries a plan out
``status``    pure: component statuses -> conditions and tables
``passes``    the pass itself, a table of contents of the above
``loop``      one task per Scoreboard, and when its next pass runs
``finalize``  what happens when the Scoreboard is deleted
"""
