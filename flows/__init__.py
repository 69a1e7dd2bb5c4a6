"""What runs: the pipeline, one deployable flow per stage, the command line, the recipes."""
