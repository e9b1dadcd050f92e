"""What stands beside sweeps: the servers and the runner that `palms up` starts, and what is handed to them, scheduled, told."""
