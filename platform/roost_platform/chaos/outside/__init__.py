"""What is around the processes of a storm: the engine, the database, and people with phones."""
