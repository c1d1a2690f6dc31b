"""Every causal architecture of the installed transformers, built small: measured exactly right, or
refused in one sentence.

`python -m tests.zoo` tries all of them, each in a process of its own, and writes
`docs/families.md`.
"""
