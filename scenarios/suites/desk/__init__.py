"""The bug-report desk: reports, the knowledge they ask for, and references."""
