"""Tables in files: Parquet and Arrow, in shards whose columns need not agree in full."""
