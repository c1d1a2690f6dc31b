"""How fast a model is without some of its layers."""
