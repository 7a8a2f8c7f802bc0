"""What an expert knows better than the search, as a TOML file."""
