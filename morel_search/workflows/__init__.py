"""One module a task of the user's: search, verify, retrain, pick, and what they print and write."""
