"""Every training, over one loop."""
