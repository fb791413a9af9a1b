"""One concern a file: gates decide whether a call goes on, drivers when, where and how often.

A layer is a frozen class whose fields are its settings; calling it with the inner service
makes the service that holds the state. No layer imports another one.
"""
