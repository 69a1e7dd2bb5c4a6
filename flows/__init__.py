"""What runs: algorithms and their recipes, plan and run, the local server, the command line."""
