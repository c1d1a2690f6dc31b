"""Programs that run a job: the worker of this machine, an attempt elsewhere, worker pools, group training."""
