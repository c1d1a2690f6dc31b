"""Layerscope's analysis rooms: everything the dashboard and the command line can do, without a line of Streamlit."""

__version__ = "0.1.0"
