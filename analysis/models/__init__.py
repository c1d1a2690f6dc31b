"""A model named, planned, loaded, taken apart, cut, listened to."""
