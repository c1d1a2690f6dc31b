"""The list of jobs: their rows, states and folders, the requests that change them, and the interface of a backend."""
