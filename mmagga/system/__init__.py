"""The machine: devices, processes, files, interrupts and progress bars."""
