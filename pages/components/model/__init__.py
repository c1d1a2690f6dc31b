"""The Model page: which model, whether it fits."""
