"""An application that survives the loss of its database's primary; see docs/hosts.md."""
