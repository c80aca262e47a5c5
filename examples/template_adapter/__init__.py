"""An adapter of 70 lines for a framework of 60 lines: what to start from for another one."""
