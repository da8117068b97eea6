"""A request by hand, through this library and through its peers, measured side by side: ``make benchmark``."""
