"""Maps of the effect of each block of layers: by distance, by measured damage."""
