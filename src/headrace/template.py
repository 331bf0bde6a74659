"""The process of which every warm run is a fork: it has imported what runs need, and nothing else."""
