"""What Layerscope is made of: installed from lock files, renewed, listed, and held against published advisories."""
