"""The test kit: a loop with virtual time, services that do as told, and a fake provider."""
