"""Published tables and the settings of their models, one YAML file for each; run by ``multiace reproduce``."""
