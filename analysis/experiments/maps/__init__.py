"""What each block of layers changes: by distance, by measured damage."""
