"""The miniature teacher and CLIPs alone: what comes embedded with the project, made from scratch."""

from __future__ import annotations

from flows.algorithms.algorithm import Algorithm
from flows.algorithms.materials import Materials, materials

ALGORITHM = Algorithm("miniature", "Train the miniature teacher and CLIPs alone", Materials, materials, usual="weights")
