"""What looks at pictures and says numbers: frozen networks, and distances between what they saw."""
