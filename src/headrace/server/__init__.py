"""Takes journals in, keeps what they tell, and answers questions about it."""
