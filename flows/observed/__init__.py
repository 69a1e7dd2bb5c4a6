"""A store as an onlooker sees it: read once, and what follows from it, and pages and trackers tell it on."""
