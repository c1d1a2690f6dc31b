"""Ways of choosing layers and of healing the cut, side by side on one model, and which is best as far as that can be told."""
