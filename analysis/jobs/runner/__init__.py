"""Programs that run jobs: the worker of this machine, attempts on other machines, and worker
pools.
"""

LOADER = "analysis.models.loading.load:WarmModels"
"""Class of the model loader that a process passes to experiments, created with the first job: an
idle worker needs no torch."""
