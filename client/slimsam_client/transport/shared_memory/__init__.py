"""Tensors through system shared memory, for a server on the same host.

Triton's system shared memory extension: a client registers regions, and its requests name them
instead of carrying large tensors. `layout` says which tensors lie where in a region, `region` makes
regions and fills them, `owner` says whose they are, and `pool` gives them to requests.
"""
