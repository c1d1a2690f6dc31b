"""The Learn page: a lesson of a quarter of an hour, one step after the other."""
