module scoreboard.dev/e2e/runtime

go 1.22
