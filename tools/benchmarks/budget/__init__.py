"""Instructions of standard requests against those that they may take: ``make budget``."""
