"""Behaviour that a change of structure must leave as it is: files of an earlier version, and the
comparisons with them.

    python -m tests.golden               differences from the files
    python -m tests.golden --write       write the files anew, in a commit that says why

`results/DATE` holds results of every kind as the version of that date stored them. They are never
written anew.
"""
