"""Log-likelihoods of options and losses of texts, for many cuts in one pass."""
