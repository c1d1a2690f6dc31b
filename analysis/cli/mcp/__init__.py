"""The MCP server: measurements and stored results as tools for agents and scripts, over standard
input and output.
"""
