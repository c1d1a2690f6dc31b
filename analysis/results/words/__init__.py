"""Results in words: verdicts, decisions, risks, goals, terms and lessons, which pages, command line
and report share.
"""
