"""The whole loop of trust on one machine: measure, promote, serve, change a serve, trust less."""
