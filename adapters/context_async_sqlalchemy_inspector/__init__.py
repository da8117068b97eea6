"""The inspector: a page that shows what the sessions of this process are doing now, and what lately went wrong."""

from .access import Access
from .inspector import Inspector

__all__ = ["Access", "Inspector"]
