"""Jobs as every page shows them."""
