"""What a run leaves on disk, folder, checkpoints, history, logs and the models' cards, and how it is read again."""
