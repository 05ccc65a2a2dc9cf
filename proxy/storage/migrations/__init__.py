"""Each change of the tables, in order; run when the database is opened."""
