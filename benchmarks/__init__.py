"""What Headrace costs, measured: one file a measurement, each beside its floor and beside Prefect."""
