"""One pack on the devices of this process."""
