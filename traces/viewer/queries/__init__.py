"""One module for each page's questions: functions over a SQLite connection, which only read."""
