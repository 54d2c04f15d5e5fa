"""Tests of the gateway component; some run the real Envoy."""
