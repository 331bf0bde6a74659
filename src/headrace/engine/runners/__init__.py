"""Task runners: where submitted tasks are carried out."""
