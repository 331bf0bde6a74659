"""The REST contract, a file a resource: read the request, call the store, answer."""
