"""The contract's objects, a file a resource: what is sent in, what is answered."""
