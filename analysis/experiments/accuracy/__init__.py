"""Cost of a pruned model in accuracy, in loss and in its own text."""
