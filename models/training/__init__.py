"""Trainers: one per student kind, on the ecosystem's own training loops."""
