"""The Explore page: the map, the layers that the slider removes, and the cost of removing them."""
