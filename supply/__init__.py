"""Installs packages from lock files; the Makefile calls it before anything else is there."""
