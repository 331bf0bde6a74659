"""Headrace runs Python functions as flows and tells the truth about them."""
