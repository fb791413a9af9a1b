"""What one wire format says, said in another: pure functions over decoded JSON, no I/O."""
