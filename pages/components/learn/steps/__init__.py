"""The steps of the lesson, one a file: each has a `TITLE` to stand over it, a `show` that draws it."""
