"""Propagated labels against true ones."""
