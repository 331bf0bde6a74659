"""Deploy, serve and run flows: the public door to deployments."""
