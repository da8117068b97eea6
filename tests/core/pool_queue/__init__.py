"""A place of the pool that becomes free goes to the task that has waited longest."""
