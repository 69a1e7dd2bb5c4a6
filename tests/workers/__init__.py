"""Real workers of an installed wheel, in folders of their own, on a real server: taken away, killed, cancelled."""
