"""The MCP server: measurements and stored results as tools for agents and scripts, on standard input and output."""
