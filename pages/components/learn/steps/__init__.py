"""The steps of the lesson, one a file: each has its `STEP`."""
