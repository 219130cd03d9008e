"""Reads of the tabs Credit, Graders and Loops: sums of a bounded number of steps' rows."""
