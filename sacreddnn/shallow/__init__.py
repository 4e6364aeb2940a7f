"""Shallow networks, small enough for theory: committee machines, their local energy and their local entropy."""
