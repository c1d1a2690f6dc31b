"""The Heal page: repairing what a cut broke."""
