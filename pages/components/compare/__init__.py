"""The Compare page: what models write, what goes on inside, all that was measured side by side."""
