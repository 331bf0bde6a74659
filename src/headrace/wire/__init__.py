"""What crosses a socket, written once for those who send it and those who take it."""
