"""Which layers a model can do without: sets of them are searched by what their removal changes, measured."""
