"""The admin API of a gateway: a listener of its own, which shows how things stand and changes it.

It is off unless the gateway is given an `Admin`, and says nothing that is secret.
"""
