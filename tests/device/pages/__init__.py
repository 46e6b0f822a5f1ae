"""Tests that the manual says what there is."""
