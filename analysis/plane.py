"""Two arrows in the plane: the smallest example of the angular distance, small enough to check by hand."""

import math

Arrow = tuple[float, float]
"""A residual-stream state with two numbers instead of hundreds."""

EXAMPLE: tuple[Arrow, Arrow] = ((1.0, 0.0), (1.0, 1.0))
"""The worked example: half a right angle, so a distance of 0.25, though one arrow is longer."""


def arrow(degrees: float, length: float) -> Arrow:
    """The arrow of a given length, turned from the horizontal by `degrees`, counter-clockwise."""
    return length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))


def cosine(a: Arrow, b: Arrow) -> float:
    """Cosine of the angle between two arrows, in [-1, 1].

    Raises:
        ValueError: when one of them has no length and so no direction.
    """
    lengths = math.hypot(*a) * math.hypot(*b)
    if lengths == 0:
        raise ValueError("An arrow without length has no direction, so there is no angle to measure.")
    return max(-1.0, min(1.0, (a[0] * b[0] + a[1] * b[1]) / lengths))


def angular_distance(a: Arrow, b: Arrow) -> float:
    """Angle between two arrows as a fraction of pi, in [0, 1]: 0 the same direction, 0.5 a right angle, 1 the opposite.

    Raises:
        ValueError: when one of them has no length.

    Source: Gromov et al., arXiv:2403.17887, whose states have as many numbers as the model is wide.
    """
    return math.acos(cosine(a, b)) / math.pi
