"""`/x-anylabeling`: the protocol that X-AnyLabeling speaks to a remote server."""
