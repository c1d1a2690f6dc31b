"""The parts of a causal language model: decoder, layers, sublayers, experts, and how families
differ.
"""
