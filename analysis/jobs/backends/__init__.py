"""Backends: this machine, Slurm and Ray. Each module registers a backend (`queue.backend`) or is
part of one.
"""
