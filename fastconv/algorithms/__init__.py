"""A room for each algorithm: what runs a plan."""
