"""Where rows are kept: SQLite in this process, or PostgreSQL. SQLAlchemy is imported when the first row is asked for."""
