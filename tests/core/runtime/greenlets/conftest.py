"""Leaves out the tests that cannot pass where the environment turns kept greenlets off."""

import os

from context_async_sqlalchemy._runtime.greenlets import VARIABLE

# Not `IS_USED`, because these tests have to fail if the functions of SQLAlchemy are not the known ones.
collect_ignore = ["test_sessions.py"] if os.environ.get(VARIABLE) == "0" else []
