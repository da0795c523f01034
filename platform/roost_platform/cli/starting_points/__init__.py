"""What `roost new` writes: texts with $name and $module in them, in a folder for each kind."""
