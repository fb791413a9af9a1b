"""Wire formats: how a request is written, a reply is read, an error is classified.

A leaf ends the stack: it puts a request on the wire of one provider and hands up a
reply. Each format is a folder of its own; what they share stands here: the incremental
parser of event streams (`sse`) and the HTTP transport. Nothing below this floor imports
aiohttp.
"""
