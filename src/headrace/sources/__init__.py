"""Where the code of a deployment is, and how its flow is loaded."""
