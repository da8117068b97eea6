"""A model of PostgreSQL: enough of its protocol and of its transactions for asyncpg and SQLAlchemy.

``sql`` has the transactions and knows no network; ``wire`` has the messages; ``backend`` is a server process;
``server`` has the processes of one address, and ``faults`` decides what goes wrong with them.
``tests/proof/simulation/test_model.py`` compares the model with the real server.
"""

from .faults import Faults
from .server import ModelServer
from .sql import Database, SqlError

__all__ = ["Database", "Faults", "ModelServer", "SqlError"]
