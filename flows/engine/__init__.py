"""How one node is made, whatever it computes: keys, store, processes, and where the orchestrator and the tracker come in."""
