"""The job queue: rows, states and folders of jobs, the functions that change them, and the
interface of a backend.
"""
