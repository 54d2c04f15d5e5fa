"""The Kopf operator that runs a Scoreboard."""
