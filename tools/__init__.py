"""Tools for whoever works on Headrace; nothing here is installed."""
