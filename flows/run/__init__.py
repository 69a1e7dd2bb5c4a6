"""Running a chain: plan, selection, one stage under Prefect, what is shown and recorded."""
