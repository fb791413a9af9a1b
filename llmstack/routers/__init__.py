"""Routers: layers that choose the endpoint; one shell, and a picker for each way to choose."""
