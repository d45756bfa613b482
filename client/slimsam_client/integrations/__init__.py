"""Masks in other libraries' formats."""
