"""Heals let nothing be written: an extension for the dashboard and the worker of a test, since what a model writes, token by
token, takes as long as all its other scores."""

from analysis.experiments.heal import recipes

for name in recipes.NAMES:
    values = recipes.get(name).values
    if "generation" in values:
        values["generation"] = None
