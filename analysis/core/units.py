"""Amounts in words."""


def size(n_bytes: float) -> str:
    """269000000 -> "269 MB"; decimal units."""
    for unit_size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= unit_size:
            amount = n_bytes / unit_size
            return f"{amount:.0f} {unit}" if amount >= 100 else f"{amount:.1f} {unit}"
    return f"{n_bytes:.0f} B"
