"""Inputs by hypothesis for the readers of foreign data, and their number: always the same, and
quickly.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from analysis.core.errors import LayerscopeError

settings.register_profile(
    "fast",
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fast")

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**20, 10**400, "x" * 500]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def refusal(make):
    """The sentence with which something is refused; "" where it is made. Anything but a
    `LayerscopeError` passes.
    """
    try:
        make()
    except LayerscopeError as error:
        return str(error)
    return ""
