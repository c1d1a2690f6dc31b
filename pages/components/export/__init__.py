"""The Export page: files of a pruned model."""
