"""How a stage is done: plan the units, do the missing ones, commit each."""
