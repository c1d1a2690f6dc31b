"""The Heal page: healing a pruned model."""
