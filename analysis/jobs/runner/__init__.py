"""Programs that run a job: the worker of this machine, an attempt elsewhere, worker pools, group training."""

LOADER = "analysis.models.loading.load:WarmModels"
"""Loader of models that each process hands to experiments. It is made when the first job runs: an idle one needs no torch."""
