"""Where runs are started, one kind a file."""
