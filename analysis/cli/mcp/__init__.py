"""The MCP server: the verbs of the Python face as tools for agents and scripts, on standard input and output."""
