"""Losses are taken on 4 texts of 64 tokens, not on 32 of 256, where a request leaves the text open.

An extension for the dashboard and the worker of a test, since on the real model those texts are
minutes of computing.
"""

from analysis.data.spec import CorpusSpec, default_loss_corpus


def _short() -> CorpusSpec:
    return CorpusSpec(source="c4", n_texts=4, seq_len=64, min_tokens=64)


# The code, not the name: many have imported the function.
default_loss_corpus.__code__ = _short.__code__
