"""Log-likelihoods of answer options and losses on texts, for many sets of removed layers in one
pass.
"""
