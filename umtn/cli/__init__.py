"""The command `umtn`: one door to everything that the three packages do."""
