"""Speed of a model without some of its layers."""
