"""Does unsupervised pretraining help a network, by how much, at which label budgets, and why."""
