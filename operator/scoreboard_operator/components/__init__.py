"""One package per component of a Scoreboard; ``registry`` lists them in the order data flows."""
