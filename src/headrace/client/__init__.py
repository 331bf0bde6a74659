"""Speak to a server, wherever it is: over the network, or in-process on the home folder's database."""
