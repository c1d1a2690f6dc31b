"""The Compare page: generated texts, the effect of each layer, and all stored runs side by side."""
