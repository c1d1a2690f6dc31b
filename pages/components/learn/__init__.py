"""The Learn page: a lesson of ten minutes, one step after the other."""
