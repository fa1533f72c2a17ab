"""The feature store: paths, schema, writer, reader, search and annotations. Needs duckdb, pyarrow and numpy only."""
