"""ASGI middleware of the dashboard, between browsers and Streamlit: login, headers, limits and
faster page loads.
"""
