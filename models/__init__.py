"""The science: velocity, solvers, teachers, students, losses, metrics. Knows torch, nothing of ours."""
