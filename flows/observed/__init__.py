"""A store as an onlooker sees it: read once, and what follows from it, as pages and trackers need it to tell it on."""
