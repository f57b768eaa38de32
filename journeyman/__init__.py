"""Journeyman: narrow sub-agents on small models you own, and a frontier model when in doubt."""
