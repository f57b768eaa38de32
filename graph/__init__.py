"""Who runs next and when to ask the frontier: the serving graph."""
