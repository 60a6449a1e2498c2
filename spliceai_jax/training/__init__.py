"""The arithmetic of training: recipes, rates, losses, what trains, the step, and how it runs on every device."""
