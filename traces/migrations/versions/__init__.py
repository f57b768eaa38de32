"""The changes of the schema in order, named `<number>_<what>`."""
