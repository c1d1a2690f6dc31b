"""The Export page: what to take away of a cut."""
