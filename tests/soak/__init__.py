"""Minutes of runs that end in all ways while what stands around them is killed at random."""
