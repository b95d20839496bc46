"""Pushlane's tests: unit, integration, acceptance, and the GitHub stand-in that they share."""
