"""What a script and its companion do to each other and to the machine: real processes, real files."""
