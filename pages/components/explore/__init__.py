"""The Explore page: the map, the cut that the slider chooses, what that cut costs."""
