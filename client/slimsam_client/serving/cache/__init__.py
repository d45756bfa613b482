"""The pictures and masks that the server's models keep, in one file that all of them map."""
