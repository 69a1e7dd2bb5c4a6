"""On which machines runs are done: work pools, deployments, workers, and a server with all of them on one machine."""
