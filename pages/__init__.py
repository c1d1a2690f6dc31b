"""One script a page; what they are put together from is in `components`."""
