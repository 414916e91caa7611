"""rnnlab's launcher and sweeper, where Hydra looks for plugins. Every start of Hydra imports them: keep them light."""
