"""What is trained and measured on: pictures, prompts, pairs, models."""
