"""The command line: `instaflow`."""
