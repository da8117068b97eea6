"""The probe: what observers are told, on every driver, under every fault."""
