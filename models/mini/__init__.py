"""The miniature world: renderer, grammar, small teacher, small CLIP: every path runs without a download."""
