"""The dashboard: a site of static pages, rendered from a store's manifests, records and references alone."""
