"""What happened, kept: tables, one writer, migrations. Knows no agent."""
