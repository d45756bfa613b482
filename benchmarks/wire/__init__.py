"""What goes over the wire, with and without shared memory."""
