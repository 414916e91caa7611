"""rnnlab's launcher and sweeper, where Hydra looks for plugins. Imported at every start of Hydra: keep it light."""
