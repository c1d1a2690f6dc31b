"""Backends: this machine, Slurm and Ray. Each module registers one (`queue.backend`), or is a part of one."""
