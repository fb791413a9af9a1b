"""Where llmstack meets other software: aiohttp servers and clients, Prometheus."""
