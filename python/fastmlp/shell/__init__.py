"""`fastmlp train` and `fastmlp predict`: from a CSV file to a model, and from a model to a CSV."""
