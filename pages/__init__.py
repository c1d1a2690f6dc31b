"""One script a page; their parts are in `components`."""
