"""What a server does by itself, again and again: one loop a file, each named by its noun."""
