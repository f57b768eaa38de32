"""Small models that answer tasks in process: one protocol, one module per kind."""
