"""The server's data: the only place that knows a table or a line of SQL."""
