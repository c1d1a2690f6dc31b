"""A loaded model at work: hidden states, layer streaming, pruning, generation and adapters."""
